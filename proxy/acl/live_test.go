package acl

import (
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/tidwall/resp"

	"sluice/internal/testbed"
	"sluice/proxy/command"
)

// setUser gives a server a user with the rights of a Spec, and returns them compiled.
func setUser(t *testing.T, s *testbed.Server, name string, spec Spec) *Rules {
	t.Helper()
	args := []string{"ACL", "SETUSER", name, "reset", "on", ">x"}
	for _, k := range spec.Keys {
		if k[0] != '%' {
			k = "~" + k
		}
		args = append(args, k)
	}
	for _, c := range spec.Channels {
		args = append(args, "&"+c)
	}
	if spec.Keys == nil {
		args = append(args, "allkeys")
	}
	if spec.Channels == nil {
		args = append(args, "allchannels")
	}
	if spec.Commands == nil {
		args = append(args, "+@all")
	}
	args = append(args, spec.Commands...)
	if err := s.Do(args...).Error(); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	rules, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// login connects as a user and returns what sends a request and reads its reply.
func login(t *testing.T, addr, user, password string) func(args ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	out, in := resp.NewWriter(conn), resp.NewReader(conn)
	do := func(args ...string) string {
		t.Helper()
		values := make([]resp.Value, len(args))
		for i, arg := range args {
			values[i] = resp.StringValue(arg)
		}
		if err := out.WriteArray(values); err != nil {
			t.Fatal(err)
		}
		v, _, err := in.ReadValue()
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		return v.String()
	}
	if got := do("AUTH", user, password); got != "OK" {
		t.Fatalf("AUTH: %s", got)
	}
	return do
}

func bytesOf(words []string) [][]byte {
	out := make([][]byte, len(words))
	for i, w := range words {
		out[i] = []byte(w)
	}
	return out
}

// What ACL DRYRUN says of a request is what is judged here, for every command that the server has.
func TestEveryCommandIsJudgedAsByRedis(t *testing.T) {
	s := testbed.Redis(t)
	for name, commands := range map[string][]string{
		"all":        {"+@all"},
		"few":        {"+get", "+client|id", "+config"},
		"taken":      {"+@all", "-@dangerous", "+client|list", "-set"},
		"reading":    {"+@read", "+@scripting", "-object|freq", "+@connection", "-client"},
		"slow":       {"+@slow", "-@admin"},
		"fast":       {"+@all", "-@slow", "+@scripting", "-config|get"},
		"none":       {"+@all", "-@all"},
		"named last": {"-@all", "+@string", "-@write", "+append", "-@string", "+APPEND", "+@Hash"},
	} {
		user := strings.ReplaceAll(name, " ", "")
		rules := setUser(t, s, user, Spec{Commands: commands})
		checked := 0
		for id := range command.Count {
			cmd := command.At(id)
			if len(cmd.Subcommands) > 0 || runsScripts(cmd) {
				continue
			}
			args := strings.Split(cmd.Name, "|")
			for n := 1; len(args) < max(cmd.Arity, -cmd.Arity); n++ {
				args = append(args, "1")
			}
			got := s.Do(append([]string{"ACL", "DRYRUN", user}, args...)...).String()
			if strings.Contains(got, "not found") || strings.Contains(got, "wrong number") {
				continue // Redis 7.0 does not have it.
			}
			checked++
			want := rules.Check(cmd, bytesOf(args)).DryRun(bytesOf(args))
			if got != want {
				t.Errorf("%s: %q: Redis says %q, this %q", name, args, got, want)
			}
		}
		if checked < 300 {
			t.Errorf("%s: only %d commands were compared", name, checked)
		}
	}
}

// Requests with keys and channels, as one that runs them is answered, alone and inside MULTI.
func TestDenialsAreWordedAsByRedis(t *testing.T) {
	s := testbed.Redis(t)
	spec := Spec{
		Keys:     []string{"app:*", "%R~read:*", "%W~write:*", "%rw~both[12]", "%R~mix*", "%W~mix*"},
		Channels: []string{"news.*", "a[bc]"},
		Commands: []string{"+@all", "-@admin", "+@scripting", "-append", "-client|list"},
	}
	rules := setUser(t, s, "bob", spec)
	for _, line := range strings.Split(strings.TrimSpace(`
GET app:1
GET other
GET read:1
GET write:1
SET read:1 x
SET write:1 x
SET write:1 x GET
SET write:1 x EX 10 GET
SET both1 x
SET both3 x
GET mix1
SET mix1 x
GETSET mix1 x
SET mix1 x GET
MGET app:1 read:1 other
MGET app:1 read:1
MSET app:1 1 write:1 2
MSET app:1 1 read:1 2
DEL write:1 read:1
DEL write:1
EXISTS write:1
EXISTS other
TYPE write:1
RENAME app:1 write:1
COPY read:1 write:1
COPY write:1 read:1
SORT app:1
SORT app:1 STORE write:1
SORT app:1 STORE read:1
SORT app:1 BY nosort
SORT app:1 BY w_*
SORT app:1 GET #
SORT app:1 LIMIT 0 1 GET x*
SORT app:1 STORE by
SORT_RO app:1 BY w_*
BITFIELD read:1 GET u8 0
BITFIELD read:1 SET u8 0 1
EVAL return 1
EVAL return 0
EVAL return 1 app:1
EVAL return 1 other
EVAL return 2 app:1 read:1
ZUNIONSTORE app:1 2 read:1 read:2
ZUNIONSTORE read:1 1 app:1
ZINTER 2 read:1 other
XREAD STREAMS read:1 0
XREAD STREAMS write:1 0
GEORADIUS app:1 1 2 3 m STORE read:1
LMOVE app:1 write:1 LEFT LEFT
LMOVE app:1 read:1 LEFT LEFT
OBJECT FREQ other
OBJECT ENCODING write:1
PUBLISH news.x m
PUBLISH ab m
PUBLISH ad m
PUBLISH x m
SPUBLISH x m
SUBSCRIBE news.1 x
SSUBSCRIBE x
PSUBSCRIBE news.*
PSUBSCRIBE news.1
PSUBSCRIBE a[bc]
UNSUBSCRIBE x
PUNSUBSCRIBE x
PUBSUB CHANNELS
APPEND app:1 x
APPEND other x
CLIENT LIST
CLIENT ID
CONFIG GET x
PING
AUTH x
`), "\n") {
		args := strings.Fields(line)
		denial := rules.Check(command.Resolve(bytesOf(args)), bytesOf(args))
		if got, want := s.Do(append([]string{"ACL", "DRYRUN", "bob"}, args...)...).String(), denial.DryRun(bytesOf(args)); got != want {
			t.Errorf("%s: DRYRUN says %q, this %q", line, got, want)
		}
		if args[0] == "AUTH" || strings.HasSuffix(args[0], "SUBSCRIBE") && !denial.Denied() {
			continue // A control connection can't go on behind these.
		}
		bob := login(t, s.Addr(), "bob", "x")
		got := bob(args...)
		isDenial := strings.HasPrefix(got, "NOPERM") || strings.Contains(got, "insufficient ACL")
		if denial.Denied() && got != denial.Text() || !denial.Denied() && isDenial {
			t.Errorf("%s: Redis answers %q, this is %q", line, got, denial.Text())
		}
		if args[0] == "SORT" || args[0] == "SORT_RO" || !denial.Denied() {
			continue
		}
		bob("MULTI")
		if got := bob(args...); got != denial.Text() {
			t.Errorf("%s: inside MULTI Redis answers %q, this is %q", line, got, denial.Text())
		}
	}
}

// Patterns of all kinds, with the server as the judge.
func TestPatternsMatchAsInRedis(t *testing.T) {
	s := testbed.Redis(t)
	random := rand.New(rand.NewPCG(1, 2))
	word := func(alphabet string, n int) string {
		var b strings.Builder
		for range 1 + random.IntN(n) {
			b.WriteByte(alphabet[random.IntN(len(alphabet))])
		}
		return b.String()
	}
	matched := 0
	for range 600 {
		pattern := word(`aAb*?[]^-\c`, 8)
		rules := setUser(t, s, "p", Spec{Keys: []string{"%RW~" + pattern}})
		for range 8 {
			key := word(`aAbc-]`, 5)
			got := s.Do("ACL", "DRYRUN", "p", "GET", key).String() == "OK"
			if want := rules.MayAccess([]byte(key), command.KeyRO|command.KeyAccess); got != want {
				t.Errorf("%q on %q: Redis says %v", pattern, key, got)
			}
			if got {
				matched++
			}
		}
	}
	if matched < 100 {
		t.Errorf("only %d matched", matched)
	}
}
