package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

func TestStandInsAnswerLikeTheServer(t *testing.T) {
	server := testbed.Redis(t)
	server.Do("SET", "k", "v")
	s, err := startStandIns(t.Context(), server.Addr(), 2)
	if err != nil {
		t.Fatal(err)
	}
	f := func(addr, requests, want string) {
		t.Helper()
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, requests); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v, want %q", requests, got, err, want)
		}
	}
	const two = "*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
	f(s.addrs[0], two, "+PONG\r\n$1\r\nv\r\n")
	server.Do("SET", "k", "w") // Nobody asks the server again.
	f(s.addrs[1], two, "+PONG\r\n$1\r\nv\r\n")
}

func TestLoopTimes(t *testing.T) {
	page := ""
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, page)
	}))
	defer web.Close()
	addr := strings.TrimPrefix(web.URL, "http://")
	if _, _, err := loopTimes(t.Context(), addr); err == nil {
		t.Error("no error for a page without histograms")
	}
	page = `sluice_loop_turn_seconds_bucket{le="0.001"} 90
sluice_loop_turn_seconds_bucket{le="0.005"} 97
sluice_loop_turn_seconds_bucket{le="0.01"} 100
sluice_loop_turn_seconds_bucket{le="+Inf"} 100
sluice_loop_wait_seconds_bucket{le="0.001"} 5
sluice_loop_wait_seconds_bucket{le="+Inf"} 6
`
	turns, waits, err := loopTimes(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	f := func(got, before loopTime, long, all uint64, longest time.Duration) {
		t.Helper()
		if l, a, most := got.since(before); l != long || a != all || most != longest {
			t.Errorf("%d of %d, up to %v, want %d of %d, up to %v", l, a, most, long, all, longest)
		}
	}
	f(turns, nil, 10, 100, 10*time.Millisecond)
	f(turns, loopTime{0.001: 80, 0.005: 85, 0.01: 88, math.Inf(1): 88}, 2, 12, 5*time.Millisecond)
	f(turns, turns, 0, 0, time.Millisecond)
	f(waits, nil, 1, 6, time.Hour)
}

func TestLoadAsJSON(t *testing.T) {
	server := testbed.Redis(t)
	var out bytes.Buffer
	args := []string{"-json", "-target", server.Addr(), "-rate", "500", "-warmup", "0s", "-duration", "100ms"}
	if err := runLoad(t.Context(), args, &out); err != nil {
		t.Fatal(err)
	}
	var sum summary
	if err := json.Unmarshal(out.Bytes(), &sum); err != nil {
		t.Fatal(err)
	}
	if sum.Requests == 0 || sum.Failures > 0 || sum.P50 <= 0 || sum.Max < sum.P999 || sum.P999 < sum.P99 || sum.Late <= 0 {
		t.Errorf("%+v from %s", sum, out.String())
	}
}
