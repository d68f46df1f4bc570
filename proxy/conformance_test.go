package proxy

import (
	"embed"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/command"
)

// The conformance suite: every command that a client may send is run on one server that has all keys, and
// through Sluice over one group, over three, and over a Redis Cluster, in RESP2 and RESP3, one by one and in
// pipelines. Replies are compared byte for byte, but for what allowances_test.go lists.
//
// The scripts are testdata/conformance/*.txt, one per group of commands, in the notation of statements_test.go.
// Every script begins with empty servers and leaves nothing but keys behind. Keys of one command share a tag,
// so that they are in one slot everywhere. A script may use several connections, each named by a letter:
//
//	GET k             sent on connection a, its reply is read
//	b: GET k          the same on connection b, which is dialled when it is named first
//	b> BLPOP k 0      sent on b; nothing is read
//	b<                reads one more reply of b: of what was sent with b>, or a message that was pushed.
//	                  "~(name)" and "?" may follow. A connection that the server closes reads as "closed",
//	                  and is dialled again when it is named next
//	b.                hangs up; b is dialled again when it is named next
//	@blocked 2        waits until the servers say that together they have two blocked clients
//	@iterate SCAN 0   runs a SCAN, SSCAN, HSCAN or ZSCAN to its end and compares the sorted elements of all its
//	                  replies: cursors, and how many elements come at once, are each server's own
//	<b.id> <b.addr>   as words: what CLIENT ID told b when it was dialled, and its address
//	CMD => "+OK\r\n"  the reply of Redis 7.2 for what redis-server 7.0, at hand here, does not know
//
// A pipeline is a run of statements on one connection that read their replies.

//go:embed testdata/conformance/*.txt
var conformanceFiles embed.FS

// conformanceMinimum is how many replies have to be compared without any allowance, in each of the set-ups.
const conformanceMinimum = 2000

// swift are arguments for a server that finds out often that a client has been blocked for long enough.
var swift = []string{"--hz", "500"}

// conformanceScript is one file of the suite.
type conformanceScript struct {
	name string
	list []statement
}

func conformanceScripts(t *testing.T) []conformanceScript {
	t.Helper()
	files, err := conformanceFiles.ReadDir("testdata/conformance")
	if err != nil {
		t.Fatal(err)
	}
	var scripts []conformanceScript
	for _, file := range files {
		text, err := conformanceFiles.ReadFile(path.Join("testdata/conformance", file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(file.Name(), ".txt")
		list := statements(t, string(text))
		for i := range list {
			list[i].at = file.Name() + ":" + list[i].at
		}
		scripts = append(scripts, conformanceScript{name: name, list: list})
	}
	return scripts
}

func TestConformance(t *testing.T) {
	t.Parallel()
	direct := testbed.Redis(t, swift...)
	scripts := conformanceScripts(t)
	want := make(map[string][]string) // by script and RESP version
	for _, sc := range scripts {
		for _, proto := range []string{"2", "3"} {
			flush(t, direct)
			want[sc.name+proto] = converseInTurn(t, direct.Addr(), proto, sc.list, direct)
		}
	}
	for _, setup := range []struct {
		name string
		top  func(t *testing.T) *topology
	}{
		{"1 group", func(t *testing.T) *topology { return groupsTopology(t, 1) }},
		{"3 groups", func(t *testing.T) *topology { return groupsTopology(t, 3) }},
		{"cluster", clusterTopology},
	} {
		scripts := scripts
		if setup.name == "1 group" {
			scripts = withoutCrossSlot(scripts)
		}
		t.Run(setup.name, func(t *testing.T) {
			top := setup.top(t)
			for _, proto := range []string{"2", "3"} {
				t.Run("RESP"+proto, func(t *testing.T) {
					compared, left, ran := 0, 0, 0
					for _, sc := range scripts {
						t.Run(sc.name, func(t *testing.T) {
							ran++
							n, keys := sc.compareThrough(t, top, proto, want[sc.name+proto])
							compared, left = compared+n, left+keys
						})
					}
					t.Logf("%d replies compared without allowance", compared)
					if ran == len(scripts) && compared < conformanceMinimum {
						t.Errorf("want at least %d", conformanceMinimum)
					}
					if ran == len(scripts) && left < 100 {
						t.Errorf("only %d keys were left to look whether they are where they belong", left)
					}
				})
			}
		})
	}
}

// A script says nothing that depends on the server, on the moment or on how requests are put together: two servers
// are alike.
func TestConformanceScriptsAreRepeatable(t *testing.T) {
	t.Parallel()
	direct := testbed.Redis(t, swift...)
	for _, sc := range withoutCrossSlot(conformanceScripts(t)) {
		t.Run(sc.name, func(t *testing.T) {
			other := testbed.Redis(t, swift...)
			for _, proto := range []string{"2", "3"} {
				flush(t, direct, other)
				want := converseInTurn(t, direct.Addr(), proto, sc.list, direct)
				c := newConversation(t, other.Addr(), proto, []*testbed.Server{other})
				c.pipelined = true
				c.hold(sc.list, want, "RESP"+proto)
			}
		})
	}
}

// withoutCrossSlot are scripts for where all keys are together.
func withoutCrossSlot(scripts []conformanceScript) []conformanceScript {
	scripts = slices.Clone(scripts)
	for i := range scripts {
		list := slices.Clone(scripts[i].list)
		for k := range list {
			if list[k].allowance == "crossslot" {
				list[k].allowance = ""
			}
		}
		scripts[i].list = list
	}
	return scripts
}

// compareThrough runs a script through Sluice, in both ways, and returns how many statements have a reply that
// is compared without allowance, and how many keys they left.
func (sc *conformanceScript) compareThrough(t *testing.T, top *topology, proto string, want []string) (compared, keys int) {
	list, want := sc.sentTo(top, want)
	for _, mode := range []struct {
		name      string
		pipelined bool
	}{{"one by one", false}, {"in pipelines", true}} {
		flush(t, top.nodes...)
		c := newConversation(t, top.addr, proto, top.nodes)
		c.pipelined = mode.pipelined
		compared = c.hold(list, want, mode.name)
		keys = top.checkOwners(t)
	}
	return compared, keys
}

// sentTo leaves out what a cluster refuses.
func (sc *conformanceScript) sentTo(top *topology, want []string) ([]statement, []string) {
	if !top.model.Cluster() {
		return sc.list, want
	}
	var list []statement
	var replies []string
	for i, s := range sc.list {
		if !s.notCluster {
			list, replies = append(list, s), append(replies, want[i])
		}
	}
	return list, replies
}

// Every command of the table is in some script, unless it is refused whatever its arguments are.
func TestConformanceHasEveryCommand(t *testing.T) {
	used := make(map[*command.Command]bool)
	for _, sc := range conformanceScripts(t) {
		for _, s := range sc.list {
			args := make([][]byte, len(s.args))
			for i := range s.args {
				args[i] = []byte(s.args[i])
			}
			if len(args) > 0 {
				used[command.Resolve(args)] = true
			}
		}
	}
	var refused []string
	for id := range command.Count {
		cmd := command.At(id)
		switch {
		case plans[id].kind != planRefuse && !used[cmd]:
			t.Errorf("no statement for %s", cmd.Name)
		case plans[id].kind == planRefuse && !used[cmd] && len(cmd.Subcommands) == 0:
			refused = append(refused, cmd.Name)
		}
	}
	t.Logf("refused, and in no script: %s", strings.Join(refused, " "))
}

// What no script has because it is refused is answered with that refusal, through every kind of pool.
func TestConformanceOfRefusals(t *testing.T) {
	onEachTopology(t, func(t *testing.T, top *topology) {
		for _, proto := range []string{"2", "3"} {
			c := top.dial(t)
			c.do("HELLO", proto)
			for _, s := range shortestRefused() {
				c.want("-"+planFor(s).refusal+"\r\n", s.args...)
			}
		}
	})
}

func planFor(s statement) plan {
	args := make([][]byte, len(s.args))
	for i := range s.args {
		args[i] = []byte(s.args[i])
	}
	return plans[command.Resolve(args).ID]
}

// Every allowance is needed by some statement, and every statement that asks for one names one that there is.
func TestConformanceAllowsOnlyWhatIsListed(t *testing.T) {
	unused := maps.Clone(allowances)
	for _, sc := range conformanceScripts(t) {
		for _, s := range sc.list {
			if _, ok := allowances[s.allowance]; !ok && s.allowance != "" {
				t.Errorf("%s: no allowance %q", s.at, s.allowance)
			}
			if s.byKind {
				t.Errorf("%s: why is only the kind of the reply compared?", s.at)
			}
			delete(unused, s.allowance)
		}
	}
	if len(unused) > 0 {
		t.Errorf("no statement needs %q", slices.Sorted(maps.Keys(unused)))
	}
}

// groupsTopology is a Codis pool of n servers.
func groupsTopology(t *testing.T, n int) *topology {
	t.Helper()
	var nodes []*testbed.Server
	var addrs []string
	for range n {
		node := testbed.Redis(t, swift...)
		nodes, addrs = append(nodes, node), append(addrs, node.Addr())
	}
	return &topology{testProxy: startProxy(t, codisModel, evenly(codisModel, addrs...), patient), model: codisModel, nodes: nodes}
}

// report says where replies differ.
func (s *statement) report(t *testing.T, how, got, want string) {
	t.Helper()
	t.Errorf("%s, %s: %.120q\n got %.400q\nwant %.400q", s.at, how, fmt.Sprint(s.args), got, want)
}
