package control

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"sluice/internal/testbed"
)

func TestConnSurvivesHostileServers(t *testing.T) {
	testbed.Survive(t, "AUTH", nil, func(ctx context.Context, addr string) error {
		c, err := Dial(ctx, addr, Options{Password: "pw", Name: "me"})
		if err == nil {
			c.Close()
		}
		return err
	})
	// The second of two replies.
	testbed.Survive(t, "CLUSTER SHARDS", map[string]string{"CLUSTER": "*1\r\n|1\r\n+a\r\n+b\r\n:1\r\n"}, func(ctx context.Context, addr string) error {
		c, err := Dial(ctx, addr, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.Pipe(ctx, []string{"CLUSTER", "INFO"}, []string{"CLUSTER", "SHARDS"})
		return err
	})
}

func TestConnWithARealServer(t *testing.T) {
	s := testbed.Redis(t, "--requirepass", "secret")
	ctx := t.Context()
	_, err := Dial(ctx, s.Addr(), Options{Password: "wrong"})
	if said := ReplyError(""); !errors.As(err, &said) || !strings.HasPrefix(string(said), "WRONGPASS") || !strings.HasPrefix(err.Error(), s.Addr()+": AUTH: ") {
		t.Errorf("error %v", err)
	}
	c, err := Dial(ctx, s.Addr(), Options{User: "default", Password: "secret", Name: "sluice:test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, proto := range []string{"2", "3"} {
		replies, err := c.Pipe(ctx, []string{"HELLO", proto}, []string{"CLIENT", "LIST"}, []string{"NONSENSE"}, []string{"COMMAND"})
		if err != nil {
			t.Fatal(err)
		}
		hello, err := replies[0].Fields()
		if err != nil || hello["proto"].Text != proto {
			t.Errorf("HELLO %s: %v, %v", proto, replies[0], err)
		}
		if !strings.Contains(replies[1].Text, "name=sluice:test") {
			t.Errorf("CLIENT LIST: %v", replies[1])
		}
		if err := replies[2].Err(); err == nil || !strings.HasPrefix(err.Error(), "ERR unknown command") {
			t.Errorf("NONSENSE: %v", err)
		}
		if len(replies[3].Elems) < 200 {
			t.Errorf("COMMAND: %d", len(replies[3].Elems))
		}
	}
}

func TestEndOfTheContextIsTheError(t *testing.T) {
	addr := testbed.Hostile(t, testbed.Attack{}, "PING", nil)
	c, err := Dial(t.Context(), addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Do(ctx, "PING"); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), addr+": PING: ") {
		t.Errorf("error %v", err)
	}
}

// A connection that is handed over begins with the first byte that somebody asks for.
func TestReleaseLosesNothing(t *testing.T) {
	f := func(sent string, want error) {
		t.Helper()
		ours, theirs := net.Pipe()
		defer theirs.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 64)
			theirs.Read(buf)
			theirs.Write([]byte(sent))
		}()
		c := New(ours, "test:1", Limits{})
		if _, err := c.Do(t.Context(), "PING"); err != nil {
			t.Fatal(err)
		}
		<-done
		nc, err := c.Release()
		if (err == nil) != (want == nil) || err != nil && err.Error() != want.Error() {
			t.Errorf("after %q: %v, want %v", sent, err, want)
		}
		if nc != nil {
			nc.Close()
		}
	}
	f("+PONG\r\n", nil)
	f("+PONG\r\n>1\r\n", errors.New("test:1: 4 bytes came that nobody has asked for"))
}

func TestTitleHasNoSecrets(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		if got := title(args); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
	f("AUTH", "AUTH", "user", "secret")
	f("HELLO", "HELLO", "3", "AUTH", "user", "secret")
	f("GET", "GET", "key")
	f("CLUSTER SHARDS", "CLUSTER", "SHARDS")
	f("config GET save", "config", "GET", "save", "x")
}
