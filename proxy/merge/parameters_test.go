package merge

import (
	"maps"
	"testing"
)

func TestParametersOfSeveralServers(t *testing.T) {
	const hz, events = "$2\r\nhz\r\n", "$22\r\nnotify-keyspace-events\r\n"
	f := func(wantBad int, want map[string]string, replies ...string) {
		t.Helper()
		list := make([][]byte, len(replies))
		for i, r := range replies {
			list[i] = []byte(r)
		}
		got, bad := Parameters(list, []string{"a", "b"}[:len(list)], func(name string) bool { return name != "secret" })
		if bad != wantBad || !maps.Equal(got, want) {
			t.Errorf("%q: %q, %d, want %q, %d", replies, got, bad, want, wantBad)
		}
	}
	f(-1, nil, "*0\r\n", "%0\r\n")
	f(-1, map[string]string{"hz": "10"}, "*2\r\n"+hz+"$2\r\n10\r\n", "%1\r\n"+hz+"$2\r\n10\r\n")
	f(-1, map[string]string{"hz": "10", "hz@a": "10", "hz@b": "20"}, "*2\r\n"+hz+"$2\r\n10\r\n", "*2\r\n"+hz+"$2\r\n20\r\n")
	f(-1, map[string]string{"hz": "20", "hz@b": "20"}, "*0\r\n", "*2\r\n"+hz+"$2\r\n20\r\n")
	f(-1, map[string]string{"notify-keyspace-events": "xE", "notify-keyspace-events@a": "xKE", "notify-keyspace-events@b": "AE"},
		"*2\r\n"+events+"$3\r\nxKE\r\n", "*2\r\n"+events+"$2\r\nAE\r\n")
	f(-1, nil, "*2\r\n$6\r\nsecret\r\n$1\r\nx\r\n", "*0\r\n")
	f(1, nil, "*0\r\n", "*1\r\n"+hz)
	f(0, nil, "+OK\r\n", "*0\r\n")
}
