package dialect

import (
	"fmt"
	"testing"
)

func TestLeaves(t *testing.T) {
	f := func(want, reply string) {
		t.Helper()
		target, ranges, leaves := Leaves([]byte(reply), 7000)
		if got := fmt.Sprintf("%s%v%v", target, ranges, leaves); got != want {
			t.Errorf("%q: %s, want %s", reply, got, want)
		}
	}
	const no = "[]false"
	five := func(direction, state string) string {
		return "*5\r\n$" + fmt.Sprint(len(direction)) + "\r\n" + direction + "\r\n$2\r\nn2\r\n$" + fmt.Sprint(len(state)) + "\r\n" + state + "\r\n:20\r\n$1\r\n0\r\n"
	}
	f(no, "*0\r\n")
	f(no, "+NO_STATE\r\n")
	f(no, "")
	f("n2[]true", "*1\r\n"+five("out", "SYNC"))
	f("n2[]true", "*1\r\n"+five("out", "CONNECTING"))
	f("n2[]true", "*1\r\n"+five("out", "THINKING"))
	f(no, "*1\r\n"+five("out", "FINISHED"))
	f(no, "*1\r\n"+five("out", "FATAL"))
	f(no, "*1\r\n"+five("in", "SYNC"))
	f("n2[]true", "*3\r\n"+five("in", "SYNC")+five("out", "FINISHED")+five("out", "SYNC"))
	six := func(ranges string) string {
		return "*1\r\n*6\r\n$3\r\nout\r\n$2\r\nn2\r\n$4\r\nSYNC\r\n:20\r\n$11\r\na\r\nb, *5\r\nx\r\n$" + fmt.Sprint(len(ranges)) + "\r\n" + ranges + "\r\n"
	}
	f("n2[7000-7999]true", six("[7000, 7999]"))
	f("n2[5 6-7000]true", six("[5, 5], [6, 7000]"))
	f(no, six("[1, 6999], [7001, 7002]"))
	f("n2[]true", six("somewhere"))
	f("n2[]true", "*2\r\n$26\r\nin n2 SYNC keys:5 errors:0\r\n$27\r\nout n2 SYNC keys:5 errors:0\r\n")
	f("127.0.0.1:1[]true", "*1\r\n+out 127.0.0.1:1 FULL_SYNC\r\n")
	f(no, "*1\r\n*5\r\n$3\r\nout\r\n$2\r\nn2\r\n$999\r\nSYNC\r\n") // Cut off.
}
