package command

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "record testdata from the running server")

// The files of invocations: those of Redis 7.2, which a server can record, and
// those that came later, which the server of these tests need not know.
const (
	getKeysFile  = "testdata/getkeys.txt"
	newerGetKeys = "testdata/getkeys-newer.txt"
)

// invocation is one line of the file.
type invocation struct {
	line   int // index in lines
	args   [][]byte
	answer string
}

// allInvocations returns those of both files.
func allInvocations(t testing.TB) []invocation {
	t.Helper()
	_, list := readInvocations(t, getKeysFile)
	_, newer := readInvocations(t, newerGetKeys)
	return append(list, newer...)
}

// readInvocations returns all lines of a file and those that are invocations.
func readInvocations(t testing.TB, file string) ([]string, []invocation) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	var out []invocation
	for i, line := range lines {
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		call, answer, _ := strings.Cut(line, " => ")
		inv := invocation{line: i, answer: strings.TrimSpace(answer)}
		for _, word := range strings.Fields(call) {
			if word == `""` {
				word = ""
			}
			inv.args = append(inv.args, []byte(word))
		}
		out = append(out, inv)
	}
	return lines, out
}

// answerOf renders a reply of COMMAND GETKEYS as the file has it.
func answerOf(n node) string {
	if n.kind == '-' {
		return "!" + strings.TrimPrefix(n.text, "ERR ")
	}
	words := make([]string, len(n.items))
	for i := range n.items {
		words[i] = n.items[i].text
		if words[i] == "" {
			words[i] = `""`
		}
	}
	return strings.Join(words, " ")
}

// routedElsewhere lists the invocations whose keys AppendKeys finds where the
// server reads them and COMMAND GETKEYS does not.
var routedElsewhere = map[string]string{
	"pfmerge d": "d", // valid without sources
	"xreadgroup COUNT 1 GROUP g streams STREAMS a >": "a",           // "streams" is the consumer
	"georadius k 1 2 3 m STORE d STOREDIST e":        "k e",         // the last one counts
	"georadius k 1 2 3 m STORE d STORE e":            "k e",         // the last one counts
	"georadius k 1 2 3 m STORE storedist DESC":       "k storedist", // a key of that name
	"georadiusbymember k m 3 km STORE d STOREDIST e": "k e",         // the last one counts
	"georadiusbymember k m 3 km STOREDIST store ASC": "k store",     // a key of that name
}

// TestGetKeysLive compares the recorded answers and ours with the server's.
func TestGetKeysLive(t *testing.T) {
	s := startRedis(t)
	lines, list := readInvocations(t, getKeysFile)
	for _, inv := range list {
		call := bytesJoin(inv.args)
		theirs := s.askBytes(t, slices.Concat([][]byte{[]byte("COMMAND"), []byte("GETKEYS")}, inv.args))
		if *update {
			head, _, _ := strings.Cut(lines[inv.line], " => ")
			lines[inv.line] = head + " => " + answerOf(theirs)
			continue
		}
		if got := answerOf(theirs); got != inv.answer {
			t.Errorf("%s: the server says %q, recorded is %q", call, got, inv.answer)
		}
		ours := decode(t, redis.AppendGetKeys(nil, inv.args))
		if ours.String() != theirs.String() {
			t.Errorf("%s:\n theirs %s\n ours   %s", call, theirs, ours)
		}
	}
	if *update {
		if err := os.WriteFile(getKeysFile, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNewerGetKeysLive compares the answers to what the server knows of them.
func TestNewerGetKeysLive(t *testing.T) {
	s := startRedis(t)
	version := s.version(t)
	_, list := readInvocations(t, newerGetKeys)
	for _, inv := range list {
		if lacks(version, Resolve(inv.args)) {
			continue
		}
		theirs := s.askBytes(t, slices.Concat([][]byte{[]byte("COMMAND"), []byte("GETKEYS")}, inv.args))
		if got := answerOf(theirs); got != inv.answer {
			t.Errorf("%s: the server says %q, the file %q", bytesJoin(inv.args), got, inv.answer)
		}
	}
}

// TestGetKeysAndFlagsLive compares the flags too, in both protocol versions.
func TestGetKeysAndFlagsLive(t *testing.T) {
	s := startRedis(t)
	_, list := readInvocations(t, getKeysFile)
	for _, resp3 := range []bool{false, true} {
		if resp3 {
			s.ask(t, "HELLO", "3")
		}
		for _, inv := range list {
			theirs := s.askBytes(t, slices.Concat(
				[][]byte{[]byte("COMMAND"), []byte("GETKEYSANDFLAGS")}, inv.args))
			ours := decode(t, redis.AppendGetKeysAndFlags(nil, inv.args, resp3))
			if ours.String() != theirs.String() {
				t.Errorf("%s:\n theirs %s\n ours   %s", bytesJoin(inv.args), theirs, ours)
			}
		}
	}
}

// TestAppendKeysFindsWhatIsRecorded compares positions with the keys in the files.
func TestAppendKeysFindsWhatIsRecorded(t *testing.T) {
	list := allInvocations(t)
	elsewhere := 0
	covered := make(map[*Command]bool)
	for _, inv := range list {
		call := bytesJoin(inv.args)
		c := Resolve(inv.args)
		ours := decode(t, redis.AppendGetKeys(nil, inv.args))
		if got := answerOf(ours); got != inv.answer {
			t.Errorf("%s: COMMAND GETKEYS says %q, want %q", call, got, inv.answer)
		}
		if c == nil {
			if inv.answer != "!Invalid command specified" {
				t.Errorf("%s: unknown to us, recorded is %q", call, inv.answer)
			}
			continue
		}
		want := inv.answer
		if other, ok := routedElsewhere[call]; ok {
			if other == want {
				t.Errorf("%s: listed as routed elsewhere, and is not", call)
			}
			want = other
			elsewhere++
		}
		positions, err := c.AppendKeys(nil, inv.args)
		got := ""
		if err != nil {
			got = "!" + err.Error()
			if !slices.Contains([]error{ErrNoKeys, ErrKeyArity, ErrKeyArguments}, err) {
				t.Errorf("%s: error %v is none of the documented", call, err)
			}
		} else {
			covered[c] = true
			keys := node{}
			for _, p := range positions {
				keys.items = append(keys.items, node{text: string(inv.args[p])})
			}
			got = answerOf(keys)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", call, got, want)
		}
		checkFirst(t, c, inv.args, positions)
	}
	for _, c := range commands {
		if c.hasKeys && !covered[c] {
			t.Errorf("no line of %s or %s finds a key of %s", getKeysFile, newerGetKeys, c.Name)
		}
	}
	if elsewhere != len(routedElsewhere) {
		t.Errorf("%d of %d exceptions met", elsewhere, len(routedElsewhere))
	}
}

// checkFirst compares the two short cuts with the full answer.
func checkFirst(t *testing.T, c *Command, args [][]byte, positions []int) {
	t.Helper()
	call := bytesJoin(args)
	first := c.FirstKeyIndex(args)
	if len(positions) > 0 && !slices.Contains(positions, first) {
		t.Errorf("%s: first key at %d, keys at %v", call, first, positions)
	}
	if len(positions) == 0 && first != 0 && c.firstAt == 0 {
		t.Errorf("%s: first key at %d of none", call, first)
	}
	if c.KeyAt != 0 && len(positions) > 0 && !slices.Equal(positions, []int{c.KeyAt}) {
		t.Errorf("%s: one key at %d, keys at %v", call, c.KeyAt, positions)
	}
}

func bytesJoin(args [][]byte) string {
	words := make([]string, len(args))
	for i := range args {
		words[i] = string(args[i])
	}
	return strings.Join(words, " ")
}
