package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice/discovery/replication"
)

// everyPath are the paths of the server, by method.
var everyPath = map[string][]string{
	http.MethodGet: {
		"/", "/-/healthy", "/-/ready", "/metrics", "/api/v1/topology", "/api/v1/migrations", "/api/v1/groups", "/api/v1/events", "/api/v1/slowlog",
		"/api/v1/stats", "/api/v1/status", "/api/v1/proxies", "/debug/pprof/", "/debug/pprof/symbol",
	},
	http.MethodPost: {"/-/reload", "/api/v1/topology/accept"},
}

func TestRequestsOfOtherSitesAreRefused(t *testing.T) {
	reloads := 0
	f := newFixture(t, func(cfg *Config, _ *fixture) {
		cfg.Hosts = []string{"sluice.example.com", "Sluice-Host"}
		cfg.Reload = func() ([]string, []string, error) { reloads++; return nil, nil, nil }
		cfg.Groups = func() map[string]replication.Status { return nil }
	})
	ask := func(method, path, host string, header ...string) (int, string) {
		w, r := httptest.NewRecorder(), httptest.NewRequest(method, path, nil)
		r.Host = host
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		f.http.Handler.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	open := map[string]bool{"/-/healthy": true, "/-/ready": true, "/metrics": true}
	check := func(host string, ours bool) {
		t.Helper()
		for method, paths := range everyPath {
			for _, path := range paths {
				code, body := ask(method, path, host)
				refused := code == http.StatusForbidden
				if wanted := !ours && !open[path]; refused != wanted {
					t.Errorf("%s %s as %q: %d %s", method, path, host, code, body)
				}
				if refused && !strings.Contains(body, "add the name to admin_hosts of [proxy]") {
					t.Errorf("%s %s as %q: the answer does not say what to do: %s", method, path, host, body)
				}
			}
		}
	}
	for _, host := range []string{
		"127.0.0.1:6381", "10.0.0.5", "[::1]:6381", "[::1]", "localhost:6381", "LOCALHOST", "localhost.", "sluice.example.com:6381", "SLUICE.example.com.",
		"sluice-host", "",
	} {
		check(host, true)
	}
	for _, host := range []string{
		"evil.example:6381", "sluice.example.com.evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "xsluice.example.com", "example.com",
		"127.0.0.1:6381.evil.example", "0x7f000001", "2130706433",
	} {
		check(host, false)
	}
	f.SetHosts([]string{"evil.example"})
	check("evil.example:6381", true)
	check("sluice.example.com", false)

	// A page under our own address may change something, one of another site may not, however it comes here.
	send := func(want int, header ...string) {
		t.Helper()
		before := reloads
		code, body := ask(http.MethodPost, "/-/reload", "127.0.0.1:6381", header...)
		if code != want || (reloads > before) != (want == http.StatusOK) {
			t.Errorf("%q: %d %s, reloaded %d times", header, code, body, reloads-before)
		}
		if code == http.StatusForbidden && !strings.Contains(body, "page of another site") {
			t.Errorf("%q: %s", header, body)
		}
	}
	send(http.StatusOK)
	send(http.StatusOK, "Origin", "http://127.0.0.1:6381")
	send(http.StatusOK, "Sec-Fetch-Site", "same-origin", "Origin", "http://127.0.0.1:6381")
	send(http.StatusOK, "Sec-Fetch-Site", "none")
	send(http.StatusForbidden, "Origin", "http://evil.example")
	send(http.StatusForbidden, "Origin", "http://127.0.0.1:8080")
	send(http.StatusForbidden, "Origin", "null")
	send(http.StatusForbidden, "Sec-Fetch-Site", "cross-site")
	send(http.StatusForbidden, "Sec-Fetch-Site", "same-site")
}
