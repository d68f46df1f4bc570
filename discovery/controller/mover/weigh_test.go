package mover

import (
	"fmt"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
	"sluice/router"
)

// A server's keys are counted by slot, in all databases; their memory is about what the server has taken for them.
func TestWeighRedis(t *testing.T) {
	t.Parallel()
	s := testbed.Redis(t)
	model := router.CodisModel(64)
	want := make([]int64, 64)
	for i := range 3000 {
		key := fmt.Sprintf("key:%d", i)
		want[model.Slot([]byte(key))]++
	}
	s.Do("EVAL", "for i = 0, 2999 do redis.call('SET', 'key:' .. i, string.rep('x', 1000)) end", "0")
	large := model.Slot([]byte("key:0"))
	s.Do("EVAL", "for i = 0, 2999 do redis.call('SET', '{key:0}' .. i, string.rep('x', 10000)) end", "0")
	raw(t, s.Addr(), "+OK\r\n+OK\r\n", []string{"SELECT", "3"}, []string{"SET", "key:0", "in 3"})
	want[large] += 3001
	at := Server{Addr: s.Addr(), Model: model}
	keys, err := New("redis").Keys(t.Context(), at)
	if err != nil || fmt.Sprint(keys) != fmt.Sprint(want) {
		t.Errorf("the keys are %v: %v\nwant %v", keys, err, want)
	}
	bytes, err := New("redis").Memory(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	for slot, n := range bytes {
		low, high := want[slot]*1000, want[slot]*2000
		if router.Slot(slot) == large {
			low, high = 20e6, 60e6 // 30 MB, and what allocation adds; small keys may be among the samples.
		}
		if n < low || n > high {
			t.Errorf("slot %d takes %d bytes, want %d-%d", slot, n, low, high)
		}
	}
}

// A codis-server and a Pika know how many keys their slots have.
func TestWeighBySlotsInfo(t *testing.T) {
	t.Parallel()
	for family, s := range map[string]*fakecodis.Server{
		"codis": fakecodis.StartCodisServer(t, fakecodis.Options{}),
		"pika":  fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{}),
	} {
		model := router.CodisModel(1024)
		want := make([]int64, 1024)
		for i := range 50 {
			key := fmt.Sprintf("key:%d", i)
			s.Do("SET", key, "v")
			want[model.Slot([]byte(key))]++
		}
		at := Server{Addr: s.Addr(), Model: model}
		keys, err := New(family).Keys(t.Context(), at)
		if err != nil || fmt.Sprint(keys) != fmt.Sprint(want) {
			t.Errorf("%s: the keys are %v: %v\nwant %v", family, keys, err, want)
		}
		_, err = New(family).Memory(t.Context(), at)
		if want := "do not tell how much memory a key takes: go by keys or by slots"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the memory: %v, want %q", family, err, want)
		}
	}
}

// What is wrong with a server is said with its name.
func TestWeighSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := testbed.Redis(t, "--rename-command", "MEMORY", "")
	s.Do("SET", "k", "v")
	at := Server{Addr: s.Addr(), Model: router.CodisModel(1024)}
	f := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), s.Addr()) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	_, err := New("redis").Memory(t.Context(), at)
	f(err, "answers MEMORY USAGE with: ERR unknown command")
	_, err = New("codis").Keys(t.Context(), at)
	f(err, "answers SLOTSINFO with: ERR unknown command")
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	_, err = New("redis").Keys(t.Context(), at)
	f(err, "connection refused")
}
