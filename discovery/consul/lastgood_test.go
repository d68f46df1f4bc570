package consul

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/router"
)

func TestColdStartWithoutConsul(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "state.json")
	a := testbed.Redis(t)
	replica := testbed.Replica(t, a)
	p := newPool(t, testbed.Consul(t), func(cfg *Config) { cfg.StateFile = file })
	p.register(a.Addr(), "1", false)
	p.register(replica.Addr(), "1", false)
	p.start()
	d := catalogDocument(1)
	p.write(d)
	good := fmt.Sprintf("1:%s+%s 0-15", a.Addr(), replica.Addr())
	p.wants("%s", good)
	p.eventually(func() error {
		_, _, err := p.read(file)
		return err
	})
	p.stop()
	if err := p.server.Kill(); err != nil {
		t.Fatal(err)
	}
	again := func(change func(*Config)) {
		t.Helper()
		p.mu.Lock()
		p.tables = nil
		p.mu.Unlock()
		cfg := p.cfg
		change(&p.cfg)
		p.start()
		p.cfg = cfg
	}

	again(func(cfg *Config) { cfg.RequireConsul = true })
	p.eventually(func() error {
		if st := p.Status(); !st.Degraded {
			return errors.New("not degraded")
		}
		return nil
	})
	if got := p.routes(); got != "" || p.Err() == nil {
		t.Errorf("with RequireConsul: routes %q, error %v", got, p.Err())
	}
	p.stop()

	again(func(cfg *Config) { cfg.MaxStateAge = time.Nanosecond })
	p.raises(AlarmState, "max_state_age is 1ns: it is not used")
	if got := p.routes(); got != "" {
		t.Errorf("too old: routes %q", got)
	}
	p.stop()

	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string]string{
		"its checksum is not that of its content": strings.Replace(string(data), "0-15", "0-14", 1),
		"it is damaged": string(data[:len(data)/2]),
	} {
		if err := os.WriteFile(file, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		again(func(*Config) {})
		p.raises(AlarmState, name)
		if got := p.routes(); got != "" {
			t.Errorf("%s: routes %q", name, got)
		}
		p.stop()
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}

	var joined atomic.Int32
	client := p.cfg.Client
	before := len(p.said())
	again(func(cfg *Config) {
		cfg.Joined = func(ctx context.Context) error {
			joined.Add(1)
			_, _, err := ReadDocument(ctx, client.KV(), p.root())
			return err
		}
	})
	p.wants("%s", good)
	p.eventually(func() error { // The Source hears of it after the table is there.
		if st := p.Status(); !st.FromFile || st.Epoch != 1 {
			return errors.New("not from the file")
		}
		return nil
	})
	if got := p.said()[before:]; len(got) > 0 {
		t.Errorf("acknowledged from the file: %q", got)
	}
	if err := p.server.Restart(); err != nil {
		t.Fatal(err)
	}
	p.eventually(func() error {
		if p.Status().FromFile || !slices.Contains(p.said()[before:], "applied 1 false") {
			return fmt.Errorf("not confirmed: %q", p.said())
		}
		return p.Err()
	})
	if joined.Load() < 2 {
		t.Errorf("joined %d times", joined.Load())
	}
	p.follows(d)
}

// read reads the last good file of the pool.
func (p *pool) read(file string) (*topology, time.Time, error) {
	return readSaved(file, p.root(), p.name, p.cfg.Model, time.Hour, time.Now())
}

func TestOlderConsulDoesNotReplaceTheFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "state.json")
	a, b := testbed.Redis(t), testbed.Redis(t)
	p := newPool(t, testbed.Consul(t), func(cfg *Config) { cfg.StateFile = file })
	newer := document([]string{a.Addr()})
	newer.Epoch = Epoch{Epoch: 9, Digest: "newer"}
	top := newTopology(newer, p.cfg.Model, nil)
	top.groups["1"].members[a.Addr()] = &member{addr: a.Addr()}
	top.groups["1"].master = a.Addr()
	if err := writeSaved(file, top.save(p.root(), p.name, time.Now())); err != nil {
		t.Fatal(err)
	}
	p.write(document([]string{b.Addr()}))
	if err := p.server.Kill(); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.wants("1:%s 0-15", a.Addr())
	if err := p.server.Restart(); err != nil {
		t.Fatal(err)
	}
	p.raises(AlarmRegressed, "epoch 1 in Consul is older than what is in force (9)")
	p.wants("1:%s 0-15", a.Addr())
	p.stop()
	again := func(change func(*Config)) {
		t.Helper()
		p.mu.Lock()
		p.tables = nil
		p.mu.Unlock()
		cfg := p.cfg
		change(&p.cfg)
		p.start()
		p.cfg = cfg
	}
	for _, unused := range []func(*Config){
		func(cfg *Config) { cfg.RequireConsul = true },
		func(cfg *Config) { cfg.MaxStateAge = time.Nanosecond },
	} {
		again(unused) // The file is only a floor.
		p.raises(AlarmRegressed, "epoch 1 in Consul is older than what was in force here last (9)")
		if got := p.routes(); got != "" {
			t.Errorf("routes %q", got)
		}
		p.stop()
	}
	again(func(*Config) {}) // Consul is there from the start.
	p.raises(AlarmRegressed, "epoch 1 in Consul is older than what is in force (9)")
	p.wants("1:%s 0-15", a.Addr())
	p.Accept()
	p.wants("1:%s 0-15", b.Addr())
	p.eventually(func() error {
		saved, _, err := p.read(file)
		if err == nil && saved.doc.Epoch.Epoch != 1 {
			err = fmt.Errorf("the file has epoch %d", saved.doc.Epoch.Epoch)
		}
		return err
	})
}

func TestSavedTopologyIsOfThisPool(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	model := router.CodisModel(slots)
	now := time.Now()
	top := newTopology(document([]string{"a:1"}), model, nil)
	if err := writeSaved(file, top.save("sluice/x/", "x", now)); err != nil {
		t.Fatal(err)
	}
	f := func(want, root, pool string, model router.Model, at time.Time) {
		t.Helper()
		_, _, err := readSaved(file, root, pool, model, time.Hour, at)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	f("", "sluice/x/", "x", model, now.Add(time.Hour-time.Minute))
	f("1h1m0s ago", "sluice/x/", "x", model, now.Truncate(time.Second).Add(time.Hour+time.Minute))
	f("from the future", "sluice/x/", "x", model, now.Add(-2*time.Hour))
	f(`it is of pool "x"`, "sluice/x/", "y", model, now)
	f(`it is of pool "x"`, "sluice/y/", "x", model, now)
	f("the pool is configured for 1024", "sluice/x/", "x", router.CodisModel(1024), now)
	if err := writeSaved(filepath.Join(t.TempDir(), "no", "dir"), top.save("", "", now)); err == nil {
		t.Error("a directory that is not there: no error")
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("files left behind: %v, error %v", left, err)
	}
}
