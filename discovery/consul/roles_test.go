package consul

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/router/lag"
)

func TestFailoverIsSeenByRoles(t *testing.T) {
	t.Parallel()
	a := testbed.Redis(t)
	b, c := testbed.Replica(t, a), testbed.Replica(t, a)
	p := newPool(t, sharedConsul(t)).start()
	p.write(document([]string{a.Addr(), b.Addr(), c.Addr()}))
	sorted := func(x, y string) string { return "+" + min(x, y) + "+" + max(x, y) }
	p.wants("1:%s%s 0-15", a.Addr(), sorted(b.Addr(), c.Addr()))

	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	p.node(a.Addr(), func(n NodeStatus) bool { return n.Err != "" && n.Master }) // Nobody else is one.
	if err := errors.Join(b.NoOne(), c.ReplicaOf(b.Addr())); err != nil {
		t.Fatal(err)
	}
	p.wants("1:%s%s 0-15", b.Addr(), sorted(a.Addr(), c.Addr()))

	// The old one comes back and thinks that it is the master still.
	if err := a.Restart(); err != nil {
		t.Fatal(err)
	}
	p.node(a.Addr(), func(n NodeStatus) bool { return n.Role == "master" && !n.Master })
	p.wants("1:%s%s 0-15", b.Addr(), sorted(a.Addr(), c.Addr()))
}

func TestServerWithoutHistoryDoesNotBecomeTheMaster(t *testing.T) {
	t.Parallel()
	a, stranger := testbed.Redis(t), testbed.Redis(t)
	replica := testbed.Replica(t, a)
	p := newPool(t, sharedConsul(t)).start()
	d := document([]string{a.Addr(), replica.Addr()})
	p.write(d)
	p.wants("1:%s+%s 0-15", a.Addr(), replica.Addr())
	d.Groups[0].Nodes = append(d.Groups[0].Nodes, Node{Addr: stranger.Addr()})
	p.write(d)
	with := fmt.Sprintf("1:%s+%s+%s 0-15", a.Addr(), min(replica.Addr(), stranger.Addr()), max(replica.Addr(), stranger.Addr()))
	p.wants("%s", with)
	p.node(stranger.Addr(), func(n NodeStatus) bool { return n.Role == "master" && !n.Master })
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	p.eventually(func() error {
		if text := strings.Join(p.Status().Problems, " "); !strings.Contains(text, "nothing shows that it has the data") {
			return errors.New("no problem is named")
		}
		return nil
	})
	if got := p.routes(); got != with {
		t.Errorf("routes %q, want %q", got, with)
	}
	if err := replica.NoOne(); err != nil { // Two say it now, and only one has been a replica.
		t.Fatal(err)
	}
	p.wants("1:%s+%s+%s 0-15", replica.Addr(), min(a.Addr(), stranger.Addr()), max(a.Addr(), stranger.Addr()))
}

func TestSetMasterHoldsUntilTheNodesSayOtherwise(t *testing.T) {
	t.Parallel()
	a := testbed.Redis(t)
	b := testbed.Replica(t, a)
	p := newPool(t, sharedConsul(t)).start()
	p.write(document([]string{a.Addr(), b.Addr()}))
	p.wants("1:%s+%s 0-15", a.Addr(), b.Addr())
	p.SetMaster("1", "127.0.0.1:1") // Not a node of the group.
	p.SetMaster("2", a.Addr())      // No group.
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	p.node(a.Addr(), func(n NodeStatus) bool { return n.Err != "" })
	p.SetMaster("1", b.Addr())
	p.wants("1:%s+%s 0-15", b.Addr(), a.Addr())
	if err := a.Restart(); err != nil {
		t.Fatal(err)
	}
	p.wants("1:%s+%s 0-15", a.Addr(), b.Addr()) // b is its replica, still.
}

func TestNodesAskForAPassword(t *testing.T) {
	t.Parallel()
	a := testbed.Redis(t, "--requirepass", "secret")
	p := newPool(t, sharedConsul(t)).start()
	p.write(document([]string{a.Addr()}))
	p.raises(AlarmWaiting, "none of "+a.Addr()+" says that it is one")
	p.eventually(func() error {
		for _, n := range p.Status().Nodes {
			if strings.Contains(n.Err, "NOAUTH") {
				return nil
			}
		}
		return errors.New("the reason is not told")
	})
	p.stop()
	p.cfg.Password, p.cfg.ClientName = "secret", "sluice:test"
	p.start()
	p.wants("1:%s 0-15", a.Addr())
	p.eventually(func() error {
		if list := a.Do("CLIENT", "LIST").String(); !strings.Contains(list, "name=sluice:test") {
			return fmt.Errorf("clients: %s", list)
		}
		return nil
	})
}

func TestAccessMayChange(t *testing.T) {
	t.Parallel()
	a := testbed.Redis(t, "--requirepass", "secret")
	p := newPool(t, sharedConsul(t), func(cfg *Config) { cfg.Password = "old" }).start()
	p.write(document([]string{a.Addr()}))
	p.raises(AlarmWaiting, "none of "+a.Addr()+" says that it is one")
	p.SetAccess("default", "secret", 7*time.Second)
	if got := p.Source.probers.accessNow().timeout; got != 7*time.Second {
		t.Errorf("a question may take %s", got)
	}
	p.wants("1:%s 0-15", a.Addr())
}

func TestClosedConnectionIsNoSilence(t *testing.T) {
	a := testbed.Redis(t)
	p := New(Config{Pool: "p"}).probers
	n := &prober{addr: a.Addr()}
	defer n.hangUp()
	for range 3 {
		if repl, err := p.ask(t.Context(), n); err != nil || repl.Role != lag.Master {
			t.Fatalf("%v, error %v", repl, err)
		}
		if err := a.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	before := n.conn
	if _, err := p.ask(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if n.conn == before {
		t.Error("the connection of a server that is gone was kept")
	}
	before = n.conn
	if _, err := p.ask(t.Context(), n); err != nil || n.conn != before {
		t.Errorf("a connection that works was not kept; error %v", err)
	}
}
