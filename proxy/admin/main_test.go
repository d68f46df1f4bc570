package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"sluice/backend"
	"sluice/discovery/migration"
	"sluice/internal/leaktest"
	"sluice/internal/testbed"
	"sluice/proxy"
	"sluice/router"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// fixture is an admin server over a proxy with the pools "main", of one group "1" with a real master and a replica
// that refuses connections, and "spare", without a topology.
type fixture struct {
	*Server
	master, replica string
}

func newFixture(t *testing.T, fill func(cfg *Config, f *fixture)) *fixture {
	t.Helper()
	f := &fixture{
		master:  testbed.Redis(t).Addr(),
		replica: fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t)),
	}
	log := slog.New(slog.DiscardHandler)
	srv := proxy.New(proxy.Config{Loops: 1, Log: log})
	options := backend.Options{
		DialTimeout: time.Second, RequestTimeout: time.Second, ProbeInterval: 20 * time.Millisecond,
		BreakerFailures: 2, BreakerOpen: 20 * time.Millisecond,
	}
	pool := srv.AddPool(proxy.PoolConfig{
		Name: "main", Model: router.CodisModel(1024), PoolSettings: proxy.PoolSettings{Databases: 16, Backend: options},
	})
	srv.AddPool(proxy.PoolConfig{Name: "spare", Model: router.CodisModel(1024)})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Shutdown(context.Background()) })
	table, err := router.NewBuilder(router.CodisModel(1024)).Build(router.Spec{Groups: []router.GroupSpec{{
		ID: "1", Master: f.master, Replicas: []string{f.replica}, Slots: []router.Range{{From: 0, To: 511}, {From: 600, To: 600}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	pool.SetTable(table)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	cfg := Config{
		Server: srv, Version: "test", Log: log,
		Sources:    func() map[string]SourceStatus { return nil },
		Migrations: func() map[string]migration.Status { return nil },
	}
	if fill != nil {
		fill(&cfg, f)
	}
	f.Server = New(cfg, ln)
	return f
}

// get asks the handler.
func (f *fixture) get(path string) (code int, body string) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = f.Addr()
	f.http.Handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}
