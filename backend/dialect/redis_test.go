package dialect

import "testing"

func TestRedis(t *testing.T) {
	f := func(reply string, want Verdict) {
		t.Helper()
		if got := Redis.Judge([]byte(reply), "10.0.0.9"); got != want {
			t.Errorf("%q: %+v, want %+v", reply, got, want)
		}
	}
	f("-MOVED 3999 127.0.0.1:6381\r\n", Verdict{Kind: Moved, Slot: 3999, Addr: "127.0.0.1:6381"})
	f("-ASK 3999 127.0.0.1:6381\r\n", Verdict{Kind: Ask, Slot: 3999, Addr: "127.0.0.1:6381"})
	f("-MOVED 1 :7001\r\n", Verdict{Kind: Moved, Slot: 1, Addr: "10.0.0.9:7001"})
	f("-MOVED 1 ?:7001\r\n", Verdict{Kind: Moved, Slot: 1, Addr: "10.0.0.9:7001"})
	f("-MOVED 1 redis-3.example:7001\r\n", Verdict{Kind: Moved, Slot: 1, Addr: "redis-3.example:7001"})
	f("-MOVED 1 2001:db8::1:7001\r\n", Verdict{Kind: Moved, Slot: 1, Addr: "[2001:db8::1]:7001"})
	f("-MOVED 1 [::1]:7001\r\n", Verdict{Kind: Moved, Slot: 1, Addr: "[::1]:7001"})
	f("-MOVED\r\n", Verdict{})
	f("-MOVED 99999 a:1\r\n", Verdict{})
	f("-MOVED x a:1\r\n", Verdict{})
	f("-ERR MOVED 1 a:1\r\n", Verdict{})
	f("-TRYAGAIN Multiple keys request during rehashing of slot\r\n", Verdict{Kind: Migrating})
	f("-READONLY You can't write against a read only replica.\r\n", Verdict{Kind: NoMaster})
	f("-READONLY You can't write against a read only replica. script: 0a, on @user_script:1.\r\n", Verdict{Kind: NoMaster})
	f("-TRYAGAIN Multiple keys request during rehashing of slot script: 0a, on @user_script:1.\r\n", Verdict{})
	f("-OOM command not allowed when used memory > 'maxmemory'.\r\n", Verdict{})
}

func TestKvrocks(t *testing.T) {
	f := func(reply string, want Verdict) {
		t.Helper()
		if got := Kvrocks.Judge([]byte(reply), "10.0.0.9"); got != want {
			t.Errorf("%q: %+v, want %+v", reply, got, want)
		}
	}
	f("-MOVED 3999 127.0.0.1:6381\r\n", Verdict{Kind: Moved, Slot: 3999, Addr: "127.0.0.1:6381"})
	f("-ERR MOVED 3999 127.0.0.1:6381\r\n", Verdict{Kind: Moved, Slot: 3999, Addr: "127.0.0.1:6381"})
	f("-ERR TRYAGAIN Can't write to slot being migrated which is in write forbidden phase\r\n",
		Verdict{Kind: Migrating})
	f("-ERR CLUSTERDOWN Hash slot not served\r\n", Verdict{Kind: NoMaster})
	f("-ERR TRYAGAIN later script: 0a, on @user_script:1.\r\n", Verdict{})
	f("-ERR MOVEDIT\r\n", Verdict{})
	f("-ERR unknown command\r\n", Verdict{})
}

// A script may end with any error: only the very words of a server say that it was not run.
func TestExact(t *testing.T) {
	f := func(reply string, want bool) {
		t.Helper()
		if got := Exact([]byte(reply)); got != want {
			t.Errorf("%q: %t", reply, got)
		}
	}
	f("-TRYAGAIN Multiple keys request during rehashing of slot\r\n", true)
	f("-TRYAGAIN Can't write to slot being migrated which is in write forbidden phase\r\n", true)
	f("-ERR TRYAGAIN Can't write to slot being migrated which is in write forbidden phase\r\n", true)
	f("-TRYAGAIN later\r\n", false)
	f("-READONLY You can't write against a read only replica. script: 0a, on @user_script:1.\r\n", true)
	f("-READONLY of my own\r\n", false)
}
