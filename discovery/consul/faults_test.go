package consul

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// ownConsul starts a Consul for a test that does it harm, and a pool with one node behind it.
func ownConsul(t *testing.T, change ...func(*Config)) (p *pool, d *Document, good string) {
	t.Helper()
	server, a := testbed.Consul(t), testbed.Redis(t)
	p = newPool(t, server, append([]func(*Config){func(cfg *Config) { cfg.Wait = time.Second }}, change...)...).start()
	d = document([]string{a.Addr()})
	p.write(d)
	good = fmt.Sprintf("1:%s 0-15", a.Addr())
	p.wants("%s", good)
	return p, d, good
}

// degrades waits until the Source is without Consul, and checks that this has cost nothing.
func (p *pool) degrades(good string) {
	p.t.Helper()
	p.eventually(func() error {
		if st := p.Status(); !st.Degraded || st.LastError == "" || p.Err() == nil {
			return errors.New("not degraded")
		}
		return nil
	})
	if got := p.routes(); got != good {
		p.t.Errorf("routes %q, want %q", got, good)
	}
}

// follows checks that a new epoch comes into force, and that all is well again.
func (p *pool) follows(d *Document) {
	p.t.Helper()
	d.Epoch.Change = "again"
	p.write(d)
	p.eventually(func() error {
		if st := p.Status(); st.Epoch != d.Epoch.Epoch || st.Degraded || st.LastError != "" {
			return fmt.Errorf("want epoch %d", d.Epoch.Epoch)
		}
		return p.Err()
	})
}

func TestAgentIsKilledAndComesBack(t *testing.T) {
	t.Parallel()
	p, d, good := ownConsul(t)
	if err := p.server.Kill(); err != nil {
		t.Fatal(err)
	}
	p.degrades(good)
	if err := p.server.Restart(); err != nil {
		t.Fatal(err)
	}
	p.follows(d)
	if err := p.server.RestartWithoutLeader(); err != nil {
		t.Fatal(err)
	}
	p.degrades(good)
	if err := p.server.Restart(); err != nil {
		t.Fatal(err)
	}
	p.follows(d)
	if err := p.server.RestartEmpty(); err != nil {
		t.Fatal(err)
	}
	p.raises(AlarmMissing, "there is no topology")
	if got := p.routes(); got != good {
		t.Errorf("routes %q, want %q", got, good)
	}
	p.follows(d) // It is written anew, with a lower index.
}

func TestAgentHangs(t *testing.T) {
	t.Parallel()
	p, d, good := ownConsul(t)
	if err := p.server.Stop(); err != nil {
		t.Fatal(err)
	}
	p.eventually(func() error {
		if p.Status().Failures == 0 {
			return errors.New("nobody has noticed")
		}
		return nil
	})
	if got := p.routes(); got != good {
		t.Errorf("routes %q, want %q", got, good)
	}
	if err := p.server.Cont(); err != nil {
		t.Fatal(err)
	}
	p.follows(d)
}

func TestRestoredSnapshotIsNoNews(t *testing.T) {
	t.Parallel()
	p, d, good := ownConsul(t)
	snapshot, err := p.server.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	old := *d
	for range 3 {
		p.follows(d)
	}
	for range 50 { // Far enough for the index to go backwards whatever the restore adds to it.
		if err := p.ringOther(); err != nil {
			t.Fatal(err)
		}
	}
	p.follows(d)
	if err := p.server.Restore(snapshot); err != nil {
		t.Fatal(err)
	}
	p.raises(AlarmRegressed, fmt.Sprintf("epoch %d in Consul is older than what is in force (%d)", old.Epoch.Epoch, d.Epoch.Epoch))
	p.eventually(func() error {
		if p.Status().IndexResets == 0 {
			return errors.New("the index has not gone backwards")
		}
		return nil
	})
	if got := p.routes(); got != good {
		t.Errorf("routes %q, want %q", got, good)
	}
	p.follows(d)
	p.raises(AlarmRegressed, "")
}

// ringOther writes a key that is not ours.
func (p *pool) ringOther() error {
	status, body, err := p.server.Do("PUT", "/v1/kv/other", fmt.Sprint(time.Now().UnixNano()))
	if err == nil && status != 200 {
		err = fmt.Errorf("status %d: %s", status, body)
	}
	return err
}

func TestTokenIsReadAgainWhenItsFileChanges(t *testing.T) {
	t.Parallel()
	server, a := testbed.Consul(t, testbed.ConsulOptions{ACL: true}), testbed.Redis(t)
	file := filepath.Join(t.TempDir(), "token")
	put := func(token string) {
		t.Helper()
		next := file + ".next"
		if err := errors.Join(os.WriteFile(next, []byte(token+"\n"), 0o600), os.Rename(next, file)); err != nil {
			t.Fatal(err)
		}
	}
	put("51c1ce00-0000-4000-8000-0000000000ff")
	p := newPool(t, server, func(cfg *Config) {
		cfg.Client = newClient(t, ClientConfig{Address: server.URL(), TokenFile: file})
		cfg.Wait = time.Second
	}).start()
	d := document([]string{a.Addr()})
	p.write(d)
	p.eventually(func() error {
		if st := p.Status(); st.Failures == 0 || p.Err() == nil {
			return errors.New("nobody has complained")
		}
		return nil
	})
	put(testbed.ConsulToken)
	p.wants("1:%s 0-15", a.Addr())
	p.eventually(p.Err)
	put("51c1ce00-0000-4000-8000-0000000000ff")
	p.eventually(func() error {
		if p.Status().Failures == 0 {
			return errors.New("nobody has complained")
		}
		return nil
	})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	put(testbed.ConsulToken)
	p.follows(d)
}

func TestClientSpeaksTLS(t *testing.T) {
	t.Parallel()
	server := testbed.Consul(t, testbed.ConsulOptions{TLS: true, VerifyClients: true})
	ca, cert, key := server.TLSFiles()
	if _, _, err := newClient(t, ClientConfig{Address: server.URL(), CAFile: ca, CertFile: cert, KeyFile: key}).KV().Get("x", nil); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	if _, _, err := newClient(t, ClientConfig{Address: server.Addr(), Scheme: "https", CAFile: ca, CertFile: cert, KeyFile: key}).KV().Get("x", nil); err != nil {
		t.Errorf("with a scheme: %v", err)
	}
	if _, _, err := newClient(t, ClientConfig{Address: server.URL(), CAFile: ca}).KV().Get("x", nil); err == nil {
		t.Error("without a certificate of ours: no error")
	}
	if _, _, err := newClient(t, ClientConfig{Address: server.URL(), CertFile: cert, KeyFile: key}).KV().Get("x", nil); err == nil {
		t.Error("a server whose CA nobody named: no error")
	}
	if _, err := NewClient(ClientConfig{Address: server.URL(), CAFile: ca + ".missing"}); err == nil {
		t.Error("a CA file that is not there: no error")
	}
}
