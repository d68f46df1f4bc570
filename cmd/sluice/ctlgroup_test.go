package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
)

// operator runs ctl against a pool whose topology is in a Consul, where no controller is.
type operator struct {
	*testing.T
	server *testbed.ConsulServer
	file   string
}

// newOperator writes a first topology of groups, as init takes them.
func newOperator(t *testing.T, dialect string, groups ...string) *operator {
	t.Helper()
	o := &operator{T: t, server: testbed.Consul(t, testbed.ConsulOptions{InMemory: true})}
	o.file = configured(t, o.server, strings.Replace(consulPool, "slot_model", fmt.Sprintf("dialect = %q\nslot_model", dialect), 1))
	args := []string{"topology", "init"}
	for _, g := range groups {
		args = append(args, "--groups", g)
	}
	o.does(args...)
	return o
}

func (o *operator) run(input string, args ...string) (string, error) {
	o.Helper()
	out, _, err := askCtl(o.T, input, append(args, "--config", o.file)...)
	return out, err
}

// does runs a command that has to succeed, and returns what it prints.
func (o *operator) does(args ...string) string {
	o.Helper()
	out, err := o.run("", args...)
	if err != nil {
		o.Fatalf("ctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// prints runs a command that has to print this.
func (o *operator) prints(want string, args ...string) {
	o.Helper()
	if got := o.does(args...); got != want {
		o.Errorf("ctl %s prints\n%s\nwant\n%s", strings.Join(args, " "), got, want)
	}
}

// refused runs a command that has to fail with an error that says want, and write nothing.
func (o *operator) refused(want string, args ...string) {
	o.Helper()
	before := o.does("topology", "export")
	out, err := o.run("", args...)
	if err == nil || !strings.Contains(err.Error(), want) {
		o.Errorf("ctl %s: %v, want %q\n%s", strings.Join(args, " "), err, want, out)
	}
	if after := o.does("topology", "export"); after != before {
		o.Errorf("ctl %s has changed the topology to\n%s", strings.Join(args, " "), after)
	}
}

// A group is added and removed in one epoch each, after its servers were asked; --dry-run and a no write nothing.
func TestCtlGroupAddAndRemove(t *testing.T) {
	t.Parallel()
	master := testbed.Redis(t)
	replica := testbed.Replica(t, master)
	o := newOperator(t, "redis", "1,2")
	add := []string{"group", "add", "3", "--master", master.Addr(), "--replica", replica.Addr()}
	news := fmt.Sprintf("group 3: new, %s, %s\n", master.Addr(), replica.Addr())
	o.prints(news+"would write epoch 2 of pool main: 3 group(s), in sluice/main/\n", append(add, "--dry-run")...)
	if out, err := o.run("n\n", add...); err == nil || err.Error() != "not written, as you say" || out != news+"write it? [y/N] " {
		t.Errorf("%v\n%s", err, out)
	}
	o.refused("with --output json nobody is asked: add --yes, or --dry-run", append(add, "-o", "json")...)
	o.prints(news+"wrote epoch 2 of pool main: 3 group(s), in sluice/main/\n"+
		"group 3 has no slots yet: `sluice ctl rebalance` gives it some\n", append(add, "--yes")...)
	if out := o.does("topology", "show"); !strings.Contains(out, "last change: group 3 added by "+whoami()) {
		t.Error(out)
	}
	var written groupsWritten
	if err := json.Unmarshal([]byte(o.does("group", "remove", "3", "--yes", "-o", "json")), &written); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("{main sluice/main/ 3 [group 3: removed, %s, %s] true}", master.Addr(), replica.Addr())
	if got := fmt.Sprint(written); got != want {
		t.Errorf("it answers %s, want %s", got, want)
	}
	o.refused(`there is no group "3"; there are 1, 2`, "group", "remove", "3", "--yes")
}

// What is wrong with a server is said before anything is written.
func TestCtlGroupAddRefuses(t *testing.T) {
	t.Parallel()
	one, master, other, full := testbed.Redis(t), testbed.Redis(t), testbed.Redis(t), testbed.Redis(t)
	replica := testbed.Replica(t, master)
	closed := testbed.Redis(t, "--requirepass", "secret")
	pika := fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{})
	full.Do("MSET", "a", "1", "b", "2")
	o := newOperator(t, "redis", "1="+one.Addr(), "2")
	refused := func(want string, args ...string) {
		t.Helper()
		o.refused(want, append([]string{"group", "add"}, append(args, "--yes")...)...)
	}
	refused("there is a group 2 already; `sluice ctl topology show` shows it", "2", "--master", master.Addr())
	refused(one.Addr()+" is in group 1 already", "3", "--master", one.Addr())
	refused(fmt.Sprintf("localhost:%d is in group 1 already", one.Port()), "3", "--master", fmt.Sprintf("localhost:%d", one.Port()))
	refused(one.Addr()+" is in group 1 already", "3", "--master", master.Addr(), "--replica", one.Addr())
	refused(`address "nowhere" is not host:port`, "3", "--master", "nowhere")
	refused(`group 2 has no usable id: "3/4"`, "3/4", "--master", master.Addr())
	free := freeAddr(t)
	refused(free+": dial tcp "+free+": connect: connection refused; start it, or correct the address", "3", "--master", free)
	refused("NOAUTH Authentication required.; it asks for a password: set backend_password", "3", "--master", closed.Addr())
	refused(pika.Addr()+`: it is pika 4.0.0, and pool main has dialect "redis"`, "3", "--master", pika.Addr())
	refused(replica.Addr()+": it is a replica of "+master.Addr()+": name its master", "3", "--master", replica.Addr())
	refused(other.Addr()+": it is no replica: REPLICAOF 127.0.0.1", "3", "--master", master.Addr(), "--replica", other.Addr())
	refused(replica.Addr()+": it follows "+master.Addr(), "3", "--master", other.Addr(), "--replica", replica.Addr())
	refused(full.Addr()+" holds 2 key(s) of slots of this pool", "3", "--master", full.Addr())
	o.does("group", "add", "3", "--master", full.Addr(), "--accept-keys", "--yes")
}

// A server that is a service of another group is refused; one of this group needs no node in the topology.
func TestCtlGroupAddAsksTheCatalog(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	o := newOperator(t, "redis", "1,2")
	for group, s := range map[string]*testbed.Server{"2": a, "3": b} {
		body := fmt.Sprintf(`{"ID": %q, "Name": "redis", "Address": "127.0.0.1", "Port": %d, "Meta": {"pool": "main", "group": %q}}`,
			s.Addr(), s.Port(), group)
		if code, text, err := o.server.Do("PUT", "/v1/agent/service/register", body); err != nil || code != 200 {
			t.Fatalf("%d %s %v", code, text, err)
		}
	}
	o.refused(a.Addr()+" is in group 2 already", "group", "add", "3", "--master", a.Addr(), "--yes")
	out := o.does("group", "add", "3", "--master", b.Addr(), "--yes")
	if !strings.HasPrefix(out, "group 3: new, nodes from the catalog\n") {
		t.Error(out)
	}
}

// A group that is used is not removed, and the way out is said.
func TestCtlGroupRemoveRefuses(t *testing.T) {
	t.Parallel()
	s := testbed.Redis(t)
	o := newOperator(t, "redis", "1,2")
	o.refused("group 2 has slots 512-1023 still: `sluice ctl group drain 2` moves them to the others", "group", "remove", "2", "--yes")
	o.does("group", "add", "3", "--master", s.Addr(), "--yes")
	out := o.does("move", "--slots", "0-7", "--to", "3", "--yes")
	_, rest, _ := strings.Cut(out, "\nmove ")
	id, _, _ := strings.Cut(rest, " ")
	o.refused("group 3 is part of move "+id+" of slots 0-7 to group 3, which is waiting: wait until it is over "+
		"(`sluice ctl moves --watch`), or end it with `sluice ctl move abort "+id+"`", "group", "remove", "3", "--yes")
}

// An epoch that proxies have to acknowledge is followed by another one: none goes without it. And a change that does not
// fit any more what is there when it is written is not written.
func TestCtlGroupGoesOnFromWhatIsThere(t *testing.T) {
	t.Parallel()
	s := testbed.Redis(t)
	site := startSite(t, 0, testbed.ConsulOptions{InMemory: true}, "")
	o := &operator{T: t, server: site.consul, file: configured(t, site.consul, consulPool)}
	site.topology(1, "locked", true, ranges("0-511", "1"), ranges("512-1023", "2"))
	add := []string{"group", "add", "3", "--master", s.Addr()}
	cmd := ctlCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetArgs(append(add, "--config", o.file))
	cmd.SetIn(readerFunc(func(p []byte) (int, error) { // Meanwhile a controller goes on.
		site.topology(2, "unlocked", true, ranges("0-511", "1"), ranges("512-1023", "2"))
		return copy(p, "y\n"), nil
	}))
	if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "wrote epoch 4 of pool main: 3 group(s)") {
		t.Errorf("%v\n%s", err, out.String())
	}
	var shown struct {
		Barrier bool
		Groups  []fileGroup
	}
	if err := json.Unmarshal([]byte(o.does("topology", "show", "-o", "json")), &shown); err != nil || !shown.Barrier || len(shown.Groups) != 3 {
		t.Errorf("%v %+v", err, shown)
	}
	cmd = ctlCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"group", "remove", "3", "--config", o.file})
	cmd.SetIn(readerFunc(func(p []byte) (int, error) { // Somebody else is faster.
		o.does("group", "remove", "3", "--yes")
		return copy(p, "y\n"), nil
	}))
	if err := cmd.ExecuteContext(t.Context()); err == nil || err.Error() != `not written: there is no group "3"; there are 1, 2` {
		t.Errorf("%v\n%s", err, out.String())
	}
}
