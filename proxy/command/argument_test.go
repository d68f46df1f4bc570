package command

import "testing"

func TestArgumentsAreReadAsRedisReadsThem(t *testing.T) {
	for arg, want := range map[string]int64{"0": 0, "-1": -1, "9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63} {
		if n, ok := Integer([]byte(arg)); !ok || n != want {
			t.Errorf("Integer(%q): %d, %v", arg, n, ok)
		}
	}
	for _, arg := range []string{"", "+1", "01", "-0", " 1", "1 ", "0x1", "9223372036854775808", "1\x00"} {
		if n, ok := Integer([]byte(arg)); ok {
			t.Errorf("Integer(%q): %d", arg, n)
		}
	}
	for arg, want := range map[string]bool{"id": true, "ID": true, "Id\x00x": true, "idx": false, "": false, "i\x00d": false} {
		if got := IsWord([]byte(arg), "id"); got != want {
			t.Errorf("IsWord(%q): %v", arg, got)
		}
	}
}
