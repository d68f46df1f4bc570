package load

import (
	"context"
	"errors"
	"testing"
)

func TestTargetAcceptsOnlyThisMachine(t *testing.T) {
	accept := func(in, network, addr string) {
		t.Helper()
		n, a, err := parseTarget(in)
		if err != nil || n != network || a != addr {
			t.Errorf("parseTarget(%q) = %q, %q, %v; want %q, %q", in, n, a, err, network, addr)
		}
	}
	accept("127.0.0.1:6380", "tcp", "127.0.0.1:6380")
	accept("tcp://127.9.9.9:1", "tcp", "127.9.9.9:1")
	accept("[::1]:6380", "tcp", "[::1]:6380")
	accept("localhost:6380", "tcp", "127.0.0.1:6380")
	accept("unix:/run/x.sock", "unix", "/run/x.sock")
	accept("unix:///run/x.sock", "unix", "/run/x.sock")

	for _, in := range []string{
		"10.0.0.1:6379", "0.0.0.0:6379", "[::]:6379", "192.0.2.1:6379", "example.org:6379",
		"localhost.example.org:6379", "[2001:db8::1]:6379", ":6379",
	} {
		if _, _, err := parseTarget(in); !errors.Is(err, ErrNotLoopback) {
			t.Errorf("parseTarget(%q) = %v, want %v", in, err, ErrNotLoopback)
		}
		cfg := Default()
		cfg.Target = in
		if _, err := Run(context.Background(), cfg); !errors.Is(err, ErrNotLoopback) {
			t.Errorf("Run on %q = %v, want %v", in, err, ErrNotLoopback)
		}
	}
	for _, in := range []string{"", "127.0.0.1", "unix:"} {
		if _, _, err := parseTarget(in); err == nil {
			t.Errorf("parseTarget(%q) has no error", in)
		}
	}
}

func TestValidateReportsEverySetting(t *testing.T) {
	f := func(wantErrors int, change func(*Config)) {
		t.Helper()
		cfg := Default()
		change(&cfg)
		err := cfg.Validate()
		got := 0
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			got = len(joined.Unwrap())
		}
		if got != wantErrors {
			t.Errorf("got %d errors, want %d: %v", got, wantErrors, err)
		}
	}
	f(0, func(*Config) {})
	f(2, func(c *Config) { c.Depth = 0; c.Mix = Mix{} })
	f(1, func(c *Config) { c.Limit = 0; c.Requests = 1 })
	f(1, func(c *Config) { c.Duration = c.Limit + 1 })
	f(1, func(c *Config) { c.Duration = 0 })
	f(1, func(c *Config) { c.Verify = true; c.ValueBytes = 10 })
	f(1, func(c *Config) { c.Dist = DistZipf; c.ZipfS = 1 })
	f(1, func(c *Config) { c.Threads = 2; c.Conns = 1 })
}
