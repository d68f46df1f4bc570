package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The servers here wait for elections most of the time, so the tests run at the same time.

func TestConsulKeepsKeysOverARestart(t *testing.T) {
	t.Parallel()
	c := Consul(t)
	addr, pid := c.Addr(), c.PID()
	request(t, c, "PUT", "/v1/kv/k", "v", 200, "true")
	request(t, c, "GET", "/v1/kv/k?raw", "", 200, "v")
	if err := errors.Join(c.Kill(), c.Kill()); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("somebody listens")
	}
	if _, _, err := c.Do("GET", "/v1/kv/k", ""); err == nil {
		t.Error("a killed server answers")
	}
	if err := c.Restart(); err != nil {
		t.Fatal(err)
	}
	if c.Addr() != addr || c.PID() == pid {
		t.Errorf("%s with process %d, was %s with %d", c.Addr(), c.PID(), addr, pid)
	}
	request(t, c, "GET", "/v1/kv/k?raw", "", 200, "v")
	if err := c.RestartEmpty(); err != nil {
		t.Fatal(err)
	}
	if c.Addr() != addr {
		t.Errorf("%s, was %s", c.Addr(), addr)
	}
	request(t, c, "GET", "/v1/kv/k", "", 404, "")
}

func TestConsulGoesBackToASnapshot(t *testing.T) {
	t.Parallel()
	c := Consul(t, ConsulOptions{InMemory: true})
	request(t, c, "PUT", "/v1/kv/k", "old", 200, "true")
	snapshot, err := c.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	request(t, c, "PUT", "/v1/kv/k", "new", 200, "true")
	if err := c.Restore(snapshot); err != nil {
		t.Fatal(err)
	}
	request(t, c, "GET", "/v1/kv/k?raw", "", 200, "old")
	if err := c.Restore([]byte("no snapshot")); err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("garbage is restored: %v", err)
	}
}

func TestConsulWithoutALeader(t *testing.T) {
	t.Parallel()
	c := Consul(t, ConsulOptions{ACL: true}) // A token must be known without a leader too.
	request(t, c, "PUT", "/v1/kv/k", "v", 200, "true")
	if err := c.RestartWithoutLeader(); err != nil {
		t.Fatal(err)
	}
	request(t, c, "GET", "/v1/status/leader", "", 200, `""`)
	request(t, c, "GET", "/v1/kv/k", "", 500, "No cluster leader")
	request(t, c, "PUT", "/v1/kv/k", "w", 500, "No cluster leader")
	if err := c.Restart(); err != nil {
		t.Fatal(err)
	}
	request(t, c, "GET", "/v1/kv/k?raw", "", 200, "v")
	request(t, c, "PUT", "/v1/kv/k", "w", 200, "true")
}

func TestConsulWithACLsRefusesStrangers(t *testing.T) {
	t.Parallel()
	c := Consul(t, ConsulOptions{ACL: true, InMemory: true})
	request(t, c, "PUT", "/v1/kv/k", "v", 200, "true")
	f := func(token string, wantStatus int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "PUT", c.URL()+"/v1/kv/k", strings.NewReader("w"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Consul-Token", token)
		resp, err := c.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != wantStatus {
			t.Errorf("token %q: status %d, %s (%v), want %d", token, resp.StatusCode, body, err, wantStatus)
		}
	}
	f("", 403)
	f("00000000-0000-4000-8000-000000000000", 403)
	f(c.Token(), 200)
}

func TestConsulIsSilentUntilItContinues(t *testing.T) {
	t.Parallel()
	c := Consul(t, ConsulOptions{InMemory: true})
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if status, body, err := c.do(ctx, "GET", "/v1/status/leader", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a stopped server answers %d %s (%v)", status, body, err)
	}
	if err := c.Cont(); err != nil {
		t.Fatal(err)
	}
	Eventually(t, func() error { return c.leads(t.Context()) }, startTimeout)
	if err := errors.Join(c.Stop(), c.Kill()); err != nil {
		t.Errorf("a stopped server cannot be killed: %v", err)
	}
}

func TestConsulWithTLS(t *testing.T) {
	t.Parallel()
	c := Consul(t, ConsulOptions{TLS: true, VerifyClients: true, InMemory: true})
	request(t, c, "PUT", "/v1/kv/k", "v", 200, "true")
	if !strings.HasPrefix(c.URL(), "https://") {
		t.Errorf("URL %s", c.URL())
	}
	ca, cert, key := c.TLSFiles()
	for _, file := range []string{ca, cert, key} {
		if pem, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(pem), "-----BEGIN ") {
			t.Errorf("%s: %.20q, %v", file, pem, err)
		}
	}
	f := func(name, url, want string, transport *http.Transport) {
		t.Helper()
		transport.DisableKeepAlives = true
		client := http.Client{Transport: transport, Timeout: controlTimeout}
		resp, err := client.Get(url + "/v1/status/leader")
		if err == nil {
			resp.Body.Close()
			err = errors.New(resp.Status)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", name, err, want)
		}
	}
	full := c.TLSConfig()
	noCert, noCA := c.TLSConfig(), c.TLSConfig()
	noCert.Certificates, noCA.RootCAs = nil, nil
	f("all that is needed", c.URL(), "200 OK", &http.Transport{TLSClientConfig: full})
	f("no certificate", c.URL(), "remote error: tls", &http.Transport{TLSClientConfig: noCert})
	f("unknown CA", c.URL(), "x509: certificate signed by unknown authority", &http.Transport{TLSClientConfig: noCA})
	f("plain HTTP", "http://"+c.Addr(), "400 Bad Request", &http.Transport{})
}

func TestConsulTakesOptions(t *testing.T) {
	t.Parallel()
	c := Consul(t, ConsulOptions{HCL: `datacenter = "elsewhere"`, MaxConnsPerClient: 20, InMemory: true})
	request(t, c, "GET", "/v1/catalog/datacenters", "", 200, "elsewhere")
	// A session with the smallest TTL: it needs the node in the catalog.
	request(t, c, "PUT", "/v1/session/create", `{"TTL": "1s"}`, 200, `"ID"`)
	// The connections of the requests before may still count, so that ours are refused: dial until the limit is met. A
	// request above it gets 429, or an error when the connection is closed before it is written.
	dialled := 0
	Eventually(t, func() error {
		if dialled++; dialled > 40 {
			return fatalError{errors.New("40 connections and no limit")}
		}
		conn, err := net.Dial("tcp", c.Addr())
		if err != nil {
			return err
		}
		t.Cleanup(func() { conn.Close() })
		if status, answer, err := c.Do("GET", "/v1/status/leader", ""); err == nil && status != 429 {
			return fmt.Errorf("status %d: %s", status, answer)
		}
		return nil
	}, 5*time.Second)
}

func TestConsulStartReportsWhatIsWrong(t *testing.T) {
	s, err := StartConsul(t.Context(), ConsulOptions{Dir: t.TempDir(), HCL: "no_such_option = 1"})
	if err == nil {
		s.Close()
		t.Fatal("it started")
	}
	if !strings.Contains(err.Error(), "no_such_option") {
		t.Error(err)
	}
}

func TestFindConsul(t *testing.T) {
	root := t.TempDir()
	binary := func(path string) string {
		t.Helper()
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o700)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	f := func(name, want, wantErr string) {
		t.Helper()
		got, err := FindConsul()
		if got != want || (err != nil) != (wantErr != "") || (err != nil && !strings.Contains(err.Error(), wantErr)) {
			t.Errorf("%s: %q (%v), want %q (%s)", name, got, err, want, wantErr)
		}
	}
	t.Setenv("SLUICE_CONSUL", "")
	t.Setenv("PATH", filepath.Join(root, "path"))
	t.Chdir(filepath.Dir(binary("module/internal/testbed/file")))
	binary("module/go.mod")
	f("none", "", "make consul")
	onPath := binary("path/consul")
	f("on PATH", onPath, "")
	built := binary("module/.tools/" + consulBinary)
	f("built", built, "")
	named := binary("named")
	t.Setenv("SLUICE_CONSUL", named)
	f("named", named, "")
	t.Setenv("SLUICE_CONSUL", named+"x")
	f("named wrongly", "", "SLUICE_CONSUL")
}

func TestConsulInMemoryLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	c, err := StartConsul(t.Context(), ConsulOptions{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	request(t, c, "PUT", "/v1/kv/k", "v", 200, "true")
	if err := c.RestartWithoutLeader(); err == nil {
		t.Error("a server without data has lost its leader")
	}
	if err := c.Restart(); err != nil {
		t.Fatal(err)
	}
	request(t, c, "GET", "/v1/kv/k", "", 404, "")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// request checks a status, and that want is in the answer.
func request(t *testing.T, c *ConsulServer, method, path, body string, wantStatus int, want string) {
	t.Helper()
	status, answer, err := c.Do(method, path, body)
	if err == nil && (status != wantStatus || !strings.Contains(answer, want)) {
		err = fmt.Errorf("status %d: %s", status, answer)
	}
	if err != nil {
		t.Errorf("%s %s: %v, want %d with %q", method, path, err, wantStatus, want)
	}
}
