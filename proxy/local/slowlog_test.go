package local

import (
	"fmt"
	"strings"
	"testing"

	"sluice/proxy/resp"
)

func TestSlowlogKeepsTheNewestOfEachPool(t *testing.T) {
	c := newTestClient()
	for i := range 12 {
		c.proxy.Slow.Add(&SlowRequest{Pool: []string{"test", "other"}[i%2], Args: []string{fmt.Sprint("GET", i)}}, 10)
	}
	c.want(t, ":5\r\n", "SLOWLOG LEN")
	if got := c.do("SLOWLOG GET 2"); !strings.HasPrefix(got, "*2\r\n*6\r\n:10\r\n") || !strings.Contains(got, "GET8") ||
		strings.Contains(got, "GET9") {
		t.Errorf("%q", got)
	}
	for _, line := range []string{"SLOWLOG GET", "SLOWLOG GET -1", "SLOWLOG GET 9223372036854775807"} {
		if got := c.do(line); !strings.HasPrefix(got, "*5\r\n") {
			t.Errorf("%s: %q", line, got)
		}
	}
	c.want(t, "-ERR count should be greater than or equal to -1\r\n", "SLOWLOG GET -2")
	c.want(t, "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.\r\n", "SLOWLOG GET 1 2")
	c.want(t, "+OK\r\n", "SLOWLOG RESET")
	c.want(t, "*0\r\n", "SLOWLOG GET")
	if list := c.proxy.Slow.Newest("", 100); len(list) != 5 {
		t.Errorf("%d of the other pool are left", len(list))
	}
	c.proxy.Slow.Add(&SlowRequest{Pool: "test"}, 10)
	if list := c.proxy.Slow.Newest("test", 1); list[0].ID != 12 {
		t.Errorf("ids begin anew: %d", list[0].ID)
	}
}

func TestCutArgs(t *testing.T) {
	raw := resp.AppendCommand(nil, "SET", "k", strings.Repeat("v", 130))
	for _, n := range []int{len(raw), len(raw) - 2, len(raw) - 4} {
		want := []string{"SET", "k", strings.Repeat("v", 128) + "... (2 more bytes)"}
		if got := CutArgs(raw[:n]); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("of %d bytes: %q", n, got)
		}
	}
	got := CutArgs(resp.AppendCommand(nil, strings.Fields(strings.Repeat("x ", 40))...))
	if len(got) != 32 || got[31] != "... (9 more arguments)" {
		t.Errorf("%q", got)
	}
	if got := CutArgs(nil); got != nil {
		t.Errorf("of nothing: %q", got)
	}
}
