package apps

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// startWait bounds whatever has to come up or to come round.
const startWait = 2 * time.Minute

// site is where an application finds its server.
type site struct {
	addr   string
	prefix string // that keys must have for all of them to be on one server

	failOver func(t *testing.T) // nil where the master stays
}

// Sites that an application is played at, by name. The first is the control.
var sites = []struct {
	name  string
	open  func(t *testing.T) *site
	needs trait
}{
	{"server", openServer, 0},
	{"one group", openGroup, 0},
	{"replica reads", openReplicaReads, 0},
	{"failover", openFailover, rounds},
	{"two groups", openTwoGroups, prefixes},
}

// trait is what an application can do, and what a site needs. Without it the application is not played there.
type trait int

const (
	rounds   trait = 1 << iota // goes on for as long as it is wanted
	prefixes                   // begins all its keys with a prefix that it is told
)

func openServer(t *testing.T) *site { return &site{addr: testbed.Redis(t).Addr()} }

// pool is a configuration with nothing but what is necessary.
const pool = `[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
`

// group is one group with some of the slots.
func group(id, slots string, master *testbed.Server, replicas ...*testbed.Server) string {
	text := fmt.Sprintf("[[pool.group]]\nid = %q\nslots = %q\nmaster = %q\n", id, slots, master.Addr())
	if len(replicas) == 0 {
		return text
	}
	var addrs []string
	for _, r := range replicas {
		addrs = append(addrs, fmt.Sprintf("%q", r.Addr()))
	}
	return text + fmt.Sprintf("replicas = [%s]\n", strings.Join(addrs, ", "))
}

func openGroup(t *testing.T) *site {
	return &site{addr: serve(t, pool+group("1", "0-1023", testbed.Redis(t))).addr}
}

// openReplicaReads has the one group read from its replica, so far as every client sees its own writes.
func openReplicaReads(t *testing.T) *site {
	master, replica := pair(t)
	s := serve(t, pool+group("1", "0-1023", master, replica)+`[pool.reads]
policy = "prefer-replica"
consistency = "read-your-writes"
`)
	s.awaitNode(t, replica, "replica", "in sync")
	return &site{addr: s.addr}
}

// openFailover has a group whose replica takes over while the application works. FAILOVER holds writes until the
// replica has caught up, which is more than the second after which a request is given up by default.
func openFailover(t *testing.T) *site {
	master, replica := pair(t)
	s := serve(t, pool+group("1", "0-1023", master, replica)+"[pool.backend]\nrequest_timeout = \"10s\"\n")
	s.awaitNode(t, replica, "replica", "in sync")
	return &site{addr: s.addr, failOver: func(t *testing.T) {
		if v := master.Do("FAILOVER", "TO", "127.0.0.1", fmt.Sprint(replica.Port())); v.Error() != nil {
			t.Fatal(v.Error())
		}
		s.awaitNode(t, replica, "master", "serving")
	}}
}

// openTwoGroups divides the slots: keys with one hash tag are on one of the servers.
func openTwoGroups(t *testing.T) *site {
	s := serve(t, pool+group("1", "0-511", testbed.Redis(t))+group("2", "512-1023", testbed.Redis(t)))
	return &site{addr: s.addr, prefix: "{app}:"}
}

// openSixGroups divides the slots among as many groups as it takes for the last to be in the high bits of a number.
func openSixGroups(t *testing.T) *site {
	config := pool
	for i := range 6 {
		config += group(fmt.Sprint(i), fmt.Sprintf("%d-%d", i*1024/6, (i+1)*1024/6-1), testbed.Redis(t))
	}
	return &site{addr: serve(t, config).addr}
}

// pair is a master and its replica.
func pair(t *testing.T) (master, replica *testbed.Server) {
	master = testbed.Redis(t)
	if v := master.Do("SET", "first", "write"); v.Error() != nil { // An offset of 0 proves nothing.
		t.Fatal(v.Error())
	}
	replica = testbed.Replica(t, master)
	testbed.AwaitReplica(t, master, replica)
	return master, replica
}

// served is a sluice serve process with one pool.
type served struct {
	*testbed.Program
	addr  string
	admin string
}

func serve(t *testing.T, config string) *served {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sluice.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &served{Program: testbed.StartProgram(t, nil, binary, "serve", "--config", file)}
	s.AwaitOutput(t, "sluice is up", startWait)
	s.addr = s.find(t, `msg=listening pool=main addr=(\S+)`)
	s.admin = "http://" + s.find(t, `admin=(\S+)`)
	return s
}

func (s *served) find(t *testing.T, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(s.Output())
	if m == nil {
		t.Fatalf("no %s in the output", pattern)
	}
	return m[1]
}

// awaitNode waits until a server is in a place and a state, as /api/v1/groups has it.
func (s *served) awaitNode(t *testing.T, server *testbed.Server, role, state string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		reply, err := http.Get(s.admin + "/api/v1/groups")
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		body, err := io.ReadAll(reply.Body)
		if err != nil {
			return err
		}
		var out struct {
			Pools []struct {
				Groups []struct {
					Nodes []struct{ Addr, Role, State string }
				}
			}
		}
		if err := json.Unmarshal(body, &out); err != nil {
			return err
		}
		for _, p := range out.Pools {
			for _, g := range p.Groups {
				for _, n := range g.Nodes {
					if n.Addr == server.Addr() && n.Role == role && n.State == state {
						return nil
					}
				}
			}
		}
		return fmt.Errorf("%s is not a %s in state %q: %s", server.Addr(), role, state, body)
	}, startWait)
}
