package dialect

import (
	"strings"
	"testing"
	"time"
)

func TestReadWrapped(t *testing.T) {
	f := func(reply string, want Wrapped, body string) {
		t.Helper()
		for n := range len(reply) + 1 { // However the reply is cut, the verdict is the same or not there yet.
			w, at, ok := ReadWrapped([]byte(reply[:n]))
			if n == len(reply) && !ok {
				t.Errorf("%q: no verdict", reply)
			}
			if ok && (w != want || want == WrappedRun && reply[at:] != body) {
				t.Errorf("%q: %d with %q, want %d with %q", reply[:n], w, reply[at:], want, body)
			}
		}
	}
	f("*2\r\n:2\r\n$3\r\nbar\r\n", WrappedRun, "$3\r\nbar\r\n")
	f("*2\r\n:2\r\n-WRONGTYPE x\r\n", WrappedRun, "-WRONGTYPE x\r\n")
	f("*2\r\n:2\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n", WrappedRun, "*2\r\n$1\r\na\r\n$1\r\nb\r\n")
	f("*2\r\n:1\r\n-ERR the specified key is being migrated\r\n", WrappedMoving, "")
	f("*2\r\n:0\r\n-ERR the specified key doesn't exist\r\n", WrappedGone, "")
	f("*2\r\n:0\r\n:0\r\n", WrappedGone, "")
	f("*2\r\n:-1\r\n:-1\r\n", WrappedError, "")
	f("*2\r\n:12\r\n:1\r\n", WrappedUnknown, "")
	f("*1\r\n:1\r\n", WrappedUnknown, "")
	f("*2\r\n$1\r\n2\r\n+x\r\n", WrappedUnknown, "")
	f("+OK\r\n", WrappedUnknown, "")
	f("-READONLY You can't write against a read only slave.\r\n", WrappedUnknown, "")
}

func TestKeyMoved(t *testing.T) {
	f := func(reply string, n int, ok bool) {
		t.Helper()
		if gotN, got := KeyMoved([]byte(reply)); got != ok || ok && gotN != n {
			t.Errorf("%q: %d, %v", reply, gotN, got)
		}
	}
	f(":0\r\n", 0, true)
	f(":3\r\n", 3, true)
	f(":-1\r\n", 0, false)
	f(":\r\n", 0, false)
	f("-IOERR error or timeout writing to target\r\n", 0, false)
	f("*2\r\n:1\r\n:1\r\n", 0, false)
}

func TestMoveRequests(t *testing.T) {
	f := func(got []byte, want string) {
		t.Helper()
		words := strings.Fields(want)
		var wire []byte
		for _, line := range strings.Split(string(got), "\r\n") {
			if line != "" && line[0] != '*' && line[0] != '$' {
				wire = append(append(wire, line...), ' ')
			}
		}
		if strings.TrimSpace(string(wire)) != strings.Join(words, " ") {
			t.Errorf("%q, want %q", wire, want)
		}
	}
	f(AppendWrapped(nil, []byte("k"), [][]byte{[]byte("SET"), []byte("k"), []byte("v")}), "SLOTSMGRT-EXEC-WRAPPER k SET k v")
	f(AppendMoveKey(nil, "10.0.0.1", "6379", 1500*time.Millisecond, []byte("k")), "SLOTSMGRTTAGONE 10.0.0.1 6379 1500 k")
	f(AppendExists(nil, []byte("k")), "EXISTS k k")
	f(AppendLength(nil, []byte("k")), "XLEN k")
	f(FenceRequest, "SLOTSMGRT-ASYNC-FENCE")
}

func TestExistsReplies(t *testing.T) {
	f := func(exists, length string, present, absent bool) {
		t.Helper()
		e, l := []byte(exists), []byte(length)
		if Present(e, l) != present || Absent(e, l) != absent {
			t.Errorf("%q, %q: present %v, absent %v", exists, length, Present(e, l), Absent(e, l))
		}
	}
	f(":2\r\n", ":0\r\n", true, false)
	f(":2\r\n", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", true, false)
	f(":6\r\n", "-ERR x\r\n", true, false) // 3.5 lets one key have several types.
	f(":0\r\n", ":3\r\n", true, false)     // A stream of 3.5.
	f(":0\r\n", ":0\r\n", false, true)
	f(":0\r\n", "-ERR unknown command \"xlen\"\r\n", false, true)
	f("-ERR x\r\n", ":0\r\n", false, false)
	f("-ERR x\r\n", ":3\r\n", false, false)
	f("", "", false, false)
}

func TestBackgroundBusy(t *testing.T) {
	if !BackgroundBusy([]byte("is_slots_cleaningup:No, , 0\r\nis_slots_migrating:Yes, , 1795223538\r\n")) {
		t.Error("a running migration is not seen")
	}
	if BackgroundBusy([]byte("is_slots_reloading:Yes, , 0\r\nis_slots_migrating:No, , 0\r\n")) {
		t.Error("an idle server is busy")
	}
}
