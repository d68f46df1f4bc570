package acl

import (
	"errors"
	"strings"
	"testing"

	"sluice/proxy/command"
)

func mustNew(t *testing.T, s Spec) *Rules {
	t.Helper()
	r, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mayRun(r *Rules, name string) bool { return r.MayRun(command.LookupFull([]byte(name))) }

func TestNoRulesAllowEverything(t *testing.T) {
	r := mustNew(t, Spec{})
	if r != nil {
		t.Fatal("no rights are no nil")
	}
	if !mayRun(r, "flushall") || !r.MayAccess([]byte("k"), command.KeyRW) || !r.MayUse([]byte("c"), true) || !r.MayReadEverything() ||
		r.Check(command.Lookup([]byte("get")), bytesOf([]string{"get", "k"})).Denied() {
		t.Error("something is denied")
	}
}

func TestReadOnlyDeniesWhatWrites(t *testing.T) {
	r := mustNew(t, Spec{ReadOnly: true, Commands: []string{"+@all", "+@scripting"}})
	for id := range command.Count {
		cmd := command.At(id)
		want := !cmd.Is(command.Write)
		switch cmd.Name {
		case "eval", "evalsha", "fcall", "config|set":
			want = false
		}
		if got := r.MayRun(cmd); got != want {
			t.Errorf("%s: %v", cmd.Name, got)
		}
	}
	if !r.MayAccess([]byte("k"), command.KeyRW|command.KeyUpdate) {
		t.Error("keys are denied")
	}
}

// A script runs with the rights of the proxy, so being part of everything is not enough.
func TestScriptsHaveToBeNamed(t *testing.T) {
	f := func(want string, rules ...string) {
		t.Helper()
		var got []string
		r := mustNew(t, Spec{Commands: rules})
		for _, name := range []string{"eval", "evalsha_ro", "fcall", "script|load"} {
			if mayRun(r, name) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", rules, got, want)
		}
	}
	f("script|load", "+@all")
	f("eval evalsha_ro fcall script|load", "+@all", "+@scripting")
	f("eval script|load", "+@all", "+eval")
	f("eval evalsha_ro fcall script|load", "+@scripting", "+@all")
	f("script|load", "+@slow")
	f("fcall script|load", "+@scripting", "-eval", "-@all", "+fcall", "+script")
	if r := mustNew(t, Spec{Keys: []string{"a"}}); mayRun(r, "eval") || !mayRun(r, "get") {
		t.Error("scripts are allowed with keys alone")
	}
}

// What a module does need not be in the request, as with a script: a user with limited keys has to be allowed it by
// name.
func TestLearnedCommandsAreAllowedByNameWhereKeysAreLimited(t *testing.T) {
	for _, d := range []command.Declaration{
		{Name: "ft.search", Arity: -2, Masters: command.OnlyMaster, Learned: true},
		{Name: "ft.search", Arity: -2, Keys: command.KeysAt(1, 1, 1), Learned: true},
	} {
		search := command.Declare(d)
		f := func(s Spec, want bool) {
			t.Helper()
			if got := mustNew(t, s).MayRun(search); got != want {
				t.Errorf("%+v: %v", s, got)
			}
		}
		f(Spec{Keys: []string{"a"}}, false)
		f(Spec{Keys: []string{"a"}, Commands: []string{"+@all", "+@read"}}, false)
		f(Spec{Keys: []string{"a"}, Commands: []string{"+@all", "+ft.search"}}, true)
		f(Spec{Keys: []string{"a"}, Commands: []string{"+ft.search", "-@all"}}, false)
		f(Spec{Commands: []string{"+@all"}}, true)
		f(Spec{}, true)
	}
}

func TestDeclaredCommandsFollowTheRules(t *testing.T) {
	add := command.Declare(command.Declaration{Name: "bf.add", Arity: 3, Keys: command.KeysAt(1, 1, 1), Write: true})
	exists := command.Declare(command.Declaration{Name: "bf.exists", Arity: 3, Keys: command.KeysAt(1, 1, 1)})
	f := func(s Spec, mayAdd, mayAsk bool) {
		t.Helper()
		r := mustNew(t, s)
		if r.MayRun(add) != mayAdd || r.MayRun(exists) != mayAsk {
			t.Errorf("%+v: add %v, exists %v", s, r.MayRun(add), r.MayRun(exists))
		}
	}
	f(Spec{Keys: []string{"a"}}, true, true)
	f(Spec{ReadOnly: true}, false, true)
	f(Spec{Commands: []string{"+@read"}}, false, true)
	f(Spec{Commands: []string{"+bf.add"}}, true, false)
	f(Spec{Commands: []string{"+@all", "-bf.exists"}}, true, false)
	r := mustNew(t, Spec{Keys: []string{"%R~a"}})
	if !r.Check(add, bytesOf([]string{"bf.add", "a", "x"})).Denied() || r.Check(exists, bytesOf([]string{"bf.exists", "a", "x"})).Denied() {
		t.Error("keys of declared commands are not checked for what is done to them")
	}
}

func TestWhatIsWrongWithARuleIsNamed(t *testing.T) {
	f := func(s Spec, want, word string) {
		t.Helper()
		_, err := New(s)
		var bad *RuleError
		if !errors.As(err, &bad) || bad.Error() != want || bad.Word != word || (word == "") != (bad.Advice != "") || (word == "") != (bad.Known == nil) {
			t.Errorf("%+v: %+v", s, err)
		}
	}
	f(Spec{Commands: []string{"get"}}, `"get" is not a command rule`, "")
	f(Spec{Commands: []string{"+"}}, `"+" is not a command rule`, "")
	f(Spec{Commands: []string{"+@raed"}}, `"+@raed" names no category`, "raed")
	f(Spec{Commands: []string{"-client|kil"}}, `"-client|kil" names no subcommand of client`, "kil")
	f(Spec{Commands: []string{"+select|0"}}, `"+select|0" names an argument of select`, "")
	f(Spec{Commands: []string{"+nosuch|x"}}, `"+nosuch|x" names no command`, "nosuch")
	f(Spec{Keys: []string{""}}, `"" is no pattern`, "")
	for _, rule := range []string{"%R", "%~a", "%RR~a", "%X~a", "%RWR~a"} {
		f(Spec{Keys: []string{rule}}, `"`+rule+`" is not a key rule`, "")
	}
	if bad := CheckCommand("+bf.add", nil, false); bad == nil || bad.Word != "bf.add" {
		t.Errorf("an unknown command: %v", bad)
	}
	if CheckCommand("+bf.add", []string{"bf.add"}, false) != nil || CheckCommand("+bf.add", nil, true) != nil {
		t.Error("a command that is declared or may be learned is refused")
	}
}

func TestChecksDoNotAllocate(t *testing.T) {
	r := mustNew(t, Spec{Keys: []string{"b*", "a*"}, Channels: []string{"x", "n*"}, Commands: []string{"+@all", "-@dangerous"}})
	var calls [][][]byte
	for _, call := range []string{"get a", "set a 1", "mget a1 a2 a3", "flushall", "publish news x", "zunionstore a 2 a b"} {
		calls = append(calls, bytesOf(strings.Fields(call)))
	}
	denied := 0
	if n := testing.AllocsPerRun(100, func() {
		for _, args := range calls {
			if r.Check(command.Resolve(args), args).Denied() {
				denied++
			}
		}
	}); n != 0 || denied != 101 {
		t.Errorf("%v allocations, %d denials", n, denied)
	}
}

func TestRightsAreShownAsRulesOfRedis(t *testing.T) {
	f := func(s Spec, want string) {
		t.Helper()
		if got := s.Text(); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
	f(Spec{}, "~* &* +@all")
	f(Spec{Keys: []string{"app:*", "~b", "%R~c"}}, "~app:* ~b %R~c &* +@all")
	f(Spec{Channels: []string{"news.*"}}, "~* resetchannels &news.* +@all")
	f(Spec{Commands: []string{"+@read", "-get"}, ReadOnly: true}, "~* &* -@all +@read -get -@write -config|set")
}
