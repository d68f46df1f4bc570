package merge

import (
	"strings"
	"testing"
)

func split(replies string) (list [][]byte) {
	for r := range strings.SplitSeq(replies, " | ") {
		list = append(list, []byte(strings.ReplaceAll(r, ",", "\r\n")))
	}
	return list
}

// wire writes "\r\n" as ",".
func wire(reply []byte) string { return strings.ReplaceAll(string(reply), "\r\n", ",") }

func TestMerge(t *testing.T) {
	f := func(merge func([][]byte) ([]byte, int), replies, want string, wantBad int) {
		t.Helper()
		reply, bad := merge(split(replies))
		if bad != wantBad || bad < 0 && wire(reply) != want {
			t.Errorf("%s: %s, %d, want %s, %d", replies, wire(reply), bad, want, wantBad)
		}
	}
	f(Sum, ":1, | :20, | :0,", ":21,", -1)
	f(Sum, ":1, | +OK,", "", 1)
	f(Sum, ":1, | :-1,", "", 1)
	f(Least, ":7, | :3, | :5,", ":3,", -1)
	f(Least, "$1,7, | :3,", "", 0)
	f(And, "*2,:1,:1, | *2,:1,:0, | *2,:1,:1,", "*2,:1,:0,", -1)
	f(And, "*2,:1,:1, | *1,:1,", "", 1)
	f(And, ":1, | *1,:1,", "", 0)
	f(Common, "*2,$1,a,$1,b, | *2,$1,b,$1,c,", "*1,$1,b,", -1)
	f(Common, "*1,$1,a, | *0,", "*0,", -1)
	f(Common, "*1,$1,a, | *2,$1,a,", "", 1)
	keys := func(replies [][]byte) ([]byte, int) { return Keys(replies, nil) }
	f(keys, "*2,$1,a,$1,b, | *0, | *1,$1,a,", "*3,$1,a,$1,b,$1,a,", -1)
	f(keys, "*1,$1,a, | *1,:1,", "", 1)
	f(keys, "*1,$1,a, | *2,$1,a,", "", 1)
	own := func(replies [][]byte) ([]byte, int) {
		return Keys(replies, func(from int, key []byte) bool { return string(key) == string(rune('a'+from)) })
	}
	f(own, "*2,$1,a,$1,b, | *2,$1,a,$1,b,", "*2,$1,a,$1,b,", -1)
	mget := func(replies [][]byte) ([]byte, int) { return Interleave(replies, []int{1, 0, 1}) }
	f(mget, "*1,$1,x, | *2,$-1,:3,", "*3,$-1,$1,x,:3,", -1)
	f(mget, "*1,$1,x, | *1,$-1,", "", 1)
	f(mget, "+OK, | *1,$-1,", "", 0)
}

func TestChoose(t *testing.T) {
	f := func(choose func([][]byte) []byte, replies, want string) {
		t.Helper()
		if reply := choose(split(replies)); wire(reply) != want {
			t.Errorf("%s: %s, want %s", replies, wire(reply), want)
		}
	}
	f(One, "-NOTBUSY x, | +OK,", "+OK,")
	f(One, "-NOTBUSY x, | -UNKILLABLE y, | -NOTBUSY z,", "-UNKILLABLE y,")
	f(One, "-NOTBUSY x,", "-NOTBUSY x,")
	f(Running, "*2,$14,running_script,$-1, | *2,$14,running_script,*1,$1,f,", "*2,$14,running_script,*1,$1,f,")
	f(Running, "*2,$14,running_script,_, | *2,$14,running_script,*-1,", "*2,$14,running_script,_,")
}
