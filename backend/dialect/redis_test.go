package dialect

import "testing"

func TestRedis(t *testing.T) {
	f := func(reply string, want Verdict) {
		t.Helper()
		if got := Redis([]byte(reply), "10.0.0.9"); got != want {
			t.Errorf("%q: %+v, want %+v", reply, got, want)
		}
	}
	f("-MOVED 3999 127.0.0.1:6381\r\n", Verdict{Moved, 3999, "127.0.0.1:6381"})
	f("-ASK 3999 127.0.0.1:6381\r\n", Verdict{Ask, 3999, "127.0.0.1:6381"})
	f("-MOVED 1 :7001\r\n", Verdict{Moved, 1, "10.0.0.9:7001"})
	f("-MOVED 1 ?:7001\r\n", Verdict{Moved, 1, "10.0.0.9:7001"})
	f("-MOVED 1 redis-3.example:7001\r\n", Verdict{Moved, 1, "redis-3.example:7001"})
	f("-MOVED 1 2001:db8::1:7001\r\n", Verdict{Moved, 1, "[2001:db8::1]:7001"})
	f("-MOVED 1 [::1]:7001\r\n", Verdict{Moved, 1, "[::1]:7001"})
	f("-MOVED\r\n", Verdict{})
	f("-MOVED 99999 a:1\r\n", Verdict{})
	f("-MOVED x a:1\r\n", Verdict{})
	f("-ERR MOVED 1 a:1\r\n", Verdict{})
	f("-TRYAGAIN Multiple keys request during rehashing of slot\r\n", Verdict{})
}
