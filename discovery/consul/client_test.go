package consul

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// seen runs one request of a client against a server that remembers it.
func seen(t *testing.T, cfg ClientConfig, unix bool) *http.Request {
	t.Helper()
	var got *http.Request
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.WriteHeader(http.StatusNotFound)
	}))
	if unix {
		path := filepath.Join(t.TempDir(), "s")
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		srv.Listener.Close()
		srv.Listener = ln
		cfg.Address = "unix://" + path
	}
	srv.Start()
	defer srv.Close()
	switch {
	case unix:
	case cfg.Address == "env":
		t.Setenv("CONSUL_HTTP_ADDR", srv.URL)
		cfg.Address = ""
	default:
		cfg.Address = srv.URL + cfg.Address
	}
	if _, _, err := newClient(t, cfg).KV().Get("k", nil); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestClientTakesTheEnvironmentAndOverridesIt(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(name string, cfg ClientConfig, wantToken, wantQuery, wantPath string) {
		t.Helper()
		r := seen(t, cfg, false)
		if got := r.Header.Get("X-Consul-Token"); got != wantToken {
			t.Errorf("%s: token %q, want %q", name, got, wantToken)
		}
		if got := r.URL.Query().Encode(); got != wantQuery || r.URL.Path != wantPath {
			t.Errorf("%s: asked for %s?%s, want %s?%s", name, r.URL.Path, got, wantPath, wantQuery)
		}
	}
	f("nothing", ClientConfig{}, "", "", "/v1/kv/k")
	f("all", ClientConfig{Address: "/prefix", Token: "x", Namespace: "ns1", Partition: "p1", Datacenter: "dc2"}, "x", "dc=dc2&ns=ns1&partition=p1", "/prefix/v1/kv/k")
	f("file over token", ClientConfig{Token: "x", TokenFile: token}, "from-file", "", "/v1/kv/k")
	t.Setenv("CONSUL_HTTP_TOKEN", "from-env")
	t.Setenv("CONSUL_NAMESPACE", "ns-env")
	f("environment", ClientConfig{Address: "env"}, "from-env", "ns=ns-env", "/v1/kv/k")
	t.Setenv("CONSUL_HTTP_TOKEN_FILE", token)
	f("file of the environment", ClientConfig{}, "from-file", "ns=ns-env", "/v1/kv/k")
	f("token over the environment", ClientConfig{Token: "mine", Namespace: "n"}, "mine", "ns=n", "/v1/kv/k")
	if r := seen(t, ClientConfig{Token: "u"}, true); r.Header.Get("X-Consul-Token") != "u" {
		t.Errorf("over a socket: token %q", r.Header.Get("X-Consul-Token"))
	}
	if _, err := NewClient(ClientConfig{TokenFile: token + ".missing"}); err == nil {
		t.Error("a token file that is not there: no error")
	}
}
