package proxy

import (
	"fmt"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/router"
)

func TestGetAndSet(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	model := router.CodisModel(router.CodisSlots)
	p := startProxy(t, model, evenly(model, a.Addr(), b.Addr()))
	c := p.dial(t)
	for i := range 100 {
		c.want("+OK\r\n", "SET", fmt.Sprint("key", i), fmt.Sprint("value", i))
	}
	for i := range 100 {
		v := fmt.Sprint("value", i)
		c.want(fmt.Sprintf("$%d\r\n%s\r\n", len(v), v), "GET", fmt.Sprint("key", i))
	}
	for _, s := range []*testbed.Server{a, b} {
		if n := s.Do("DBSIZE").Integer(); n < 20 {
			t.Errorf("%s has only %d of 100 keys", s.Addr(), n)
		}
	}
}

// The read side of the memory contract: a reply of any size comes whole and in order.
func TestRepliesOfAnySizeComeInOrder(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	model := router.CodisModel(router.CodisSlots)
	p := startProxy(t, model, evenly(model, a.Addr(), b.Addr()))
	c := p.dial(t)
	sizes := []int{0, 1, 20, 22, 23, 100, 1000, 16 << 10, 64 << 10, 65 << 10, 1 << 20, 5 << 20}
	for i, size := range sizes {
		c.want("+OK\r\n", "SET", fmt.Sprint("big", i), strings.Repeat("x", size))
	}
	for range 5 {
		var requests strings.Builder
		for i := range sizes {
			fmt.Fprintf(&requests, "*2\r\n$3\r\nGET\r\n$%d\r\nbig%d\r\n", len(fmt.Sprint("big", i)), i)
			requests.WriteString("PING\r\n")
		}
		go func() { _, _ = c.Write([]byte(requests.String())) }()
		for i, size := range sizes {
			if got, want := len(c.reply()), len(fmt.Sprintf("$%d\r\n\r\n", size))+size; got != want {
				t.Fatalf("reply %d: %d bytes, want %d", i, got, want)
			}
			if got := c.reply(); got != "+PONG\r\n" {
				t.Fatalf("after reply %d: %q", i, got)
			}
		}
	}
}
