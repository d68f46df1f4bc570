package conf

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestParseBytes(t *testing.T) {
	f := func(text string, want Bytes, canonical string) {
		t.Helper()
		got, err := ParseBytes(text)
		if err != nil || got != want || got.String() != canonical {
			t.Errorf("ParseBytes(%q) = %d %q, %v; want %d %q", text, got, got, err, want, canonical)
		}
	}
	f("0", 0, "0")
	f("0gb", 0, "0")
	f("1", 1, "1")
	f("17b", 17, "17")
	f("1k", 1000, "1k")
	f("1kb", 1024, "1kb")
	f("1M", 1000000, "1m")
	f("64MB", 64<<20, "64mb")
	f("1g", 1000000000, "1g")
	f("1Gb", 1<<30, "1gb")
	f("1024mb", 1<<30, "1gb")
	f("1536mb", 1536<<20, "1536mb")
	f("1025", 1025, "1025")
	f("9223372036854775807", math.MaxInt64, "9223372036854775807")

	bad := func(text, why string) {
		t.Helper()
		if got, err := ParseBytes(text); err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "hint") {
			t.Errorf("ParseBytes(%q) = %d, %v; want an error with %q and a hint", text, got, err, why)
		}
	}
	bad("", "not a size")
	bad("mb", "not a size")
	bad("-1", "not a size")
	bad("1.5gb", "not a size")
	bad("1tb", "not a size")
	bad("1 gb", "not a size")
	bad("9223372036854775808", "64-bit")
	bad("9223372036854775807kb", "64-bit")
}

func TestParseDuration(t *testing.T) {
	f := func(text, canonical string, want time.Duration) {
		t.Helper()
		got, err := ParseDuration(text)
		if err != nil || got.Std() != want || got.String() != canonical {
			t.Errorf("ParseDuration(%q) = %d %q, %v; want %v %q", text, got, got, err, want, canonical)
		}
	}
	f("0", "0s", 0)
	f("250ms", "250ms", 250*time.Millisecond)
	f("1.5s", "1.5s", 1500*time.Millisecond)
	f("60s", "1m", time.Minute)
	f("90s", "1m30s", 90*time.Second)
	f("60m", "1h", time.Hour)
	f("70m", "1h10m", 70*time.Minute)
	f("10m", "10m", 10*time.Minute)
	f("3601s", "1h0m1s", time.Hour+time.Second)
	f("-2s", "-2s", -2*time.Second)

	bad := func(text, hint string) {
		t.Helper()
		if _, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("ParseDuration(%q): %v; want the hint %q", text, err, hint)
		}
	}
	bad("5", `needs a unit: "5s"`)
	bad("1d", "such as")
	bad("", "such as")
}

func TestParseSlots(t *testing.T) {
	f := func(text, canonical string, n int) {
		t.Helper()
		got, err := ParseSlots(text)
		if err != nil || got.String() != canonical || got.Len() != n {
			t.Errorf("ParseSlots(%q) = %v (%d), %v; want %q (%d)", text, got, got.Len(), err, canonical, n)
		}
	}
	f("", "", 0)
	f("  ", "", 0)
	f("7", "7", 1)
	f("0-511,600", "0-511,600", 513)
	f(" 600 , 0 - 511 ", "0-511,600", 513)
	f("0-1,2-3,4", "0-4", 5)
	f("0-16383", "0-16383", 16384)

	bad := func(text, why string) {
		t.Helper()
		if got, err := ParseSlots(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("ParseSlots(%q) = %v, %v; want an error with %q", text, got, err, why)
		}
	}
	bad(",", "not a slot")
	bad("1,", "not a slot")
	bad("-5", "not a slot")
	bad("1-2-3", "not a slot")
	bad("1..5", "not a slot")
	bad("9-3", `write the smaller slot first: "3-9"`)
	bad("16384", "slot 16384 does not exist")
	bad("0-99999999999", "not a slot")
	bad("0-10,5-20", "slots 5-10 are given twice")
	bad("0-100,5-20", "slots 5-20 are given twice")
}

func TestParseListen(t *testing.T) {
	f := func(text string, want Listen, canonical string) {
		t.Helper()
		got, err := ParseListen(text)
		if err != nil || got != want || got.String() != canonical {
			t.Errorf("ParseListen(%q) = %+v %q, %v; want %+v %q", text, got, got, err, want, canonical)
		}
	}
	same := func(text string, want Listen) {
		t.Helper()
		f(text, want, text)
	}
	same("tcp://127.0.0.1:6380", Listen{"tcp", "127.0.0.1:6380", 0})
	same("tcp://127.0.0.1:0", Listen{"tcp", "127.0.0.1:0", 0})
	same("tcp://:6380", Listen{"tcp", ":6380", 0})
	same("tcp://[::1]:6380", Listen{"tcp", "[::1]:6380", 0})
	same("tcp://[fe80::1%eth0]:6380", Listen{"tcp", "[fe80::1%eth0]:6380", 0})
	same("tcp://localhost:6380", Listen{"tcp", "localhost:6380", 0})
	same("unix:///run/s.sock?mode=0600", Listen{"unix", "/run/s.sock", 0o600})
	f("unix:///run/s.sock", Listen{"unix", "/run/s.sock", 0o660}, "unix:///run/s.sock?mode=0660")
	f("unix:///run//x/../s.sock?mode=777", Listen{"unix", "/run/s.sock", 0o777}, "unix:///run/s.sock?mode=0777")

	bad := func(text, why string) {
		t.Helper()
		if got, err := ParseListen(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("ParseListen(%q) = %v, %v; want an error with %q", text, got, err, why)
		}
	}
	bad("", "not an address")
	bad("127.0.0.1:6380", `write "tcp://127.0.0.1:6380"`)
	bad("/run/s.sock", `write "unix:///run/s.sock"`)
	bad("http://127.0.0.1:6380", "not an address to listen on")
	bad("tls://127.0.0.1:6380", "TLS is not in this version")
	bad("tcp://127.0.0.1", "has no port")
	bad("tcp://::1:6380", "IPv6 addresses stand in brackets")
	bad("tcp://::1", "IPv6 addresses stand in brackets")
	bad("tcp://[127.0.0.x]:6380", "not an IPv6 address")
	bad("tcp://127.0.0.256:6380", "not an IPv4 address")
	bad("tcp://*:6380", `every address: ":6380"`)
	bad("tcp://a b:6380", "not a host name")
	bad("tcp://127.0.0.1:redis", "not a number from 0 to 65535")
	bad("tcp://127.0.0.1:65536", "not a number from 0 to 65535")
	bad("tcp://127.0.0.1:+80", "not a number from 0 to 65535")
	bad("unix://run/s.sock", "three slashes")
	bad("unix:///run/", "three slashes")
	bad("unix:///run/s.sock?mode=0888", "not a mode")
	bad("unix:///run/s.sock?mode=0", "not a mode")
	bad("unix:///run/s.sock?perm=0600", "not a parameter")
	bad("unix:///run/s.sock?mode=0600&mode=0660", "not a parameter")
	bad("unix:///"+strings.Repeat("x", 200), "the socket path has 201 bytes")
}

func TestParseHostPortForConnecting(t *testing.T) {
	f := func(text, canonical string) {
		t.Helper()
		got, err := parseHostPort(text, forConnecting)
		if err != nil || got.String() != canonical {
			t.Errorf("parseHostPort(%q) = %q, %v; want %q", text, got, err, canonical)
		}
	}
	f("10.0.0.5:6379", "10.0.0.5:6379")
	f("[FD00:0::5]:6379", "[fd00::5]:6379")
	f("[::ffff:10.0.0.5]:6379", "10.0.0.5:6379")
	f("Redis-0.Example.COM.:6379", "redis-0.example.com:6379")

	bad := func(text, why string) {
		t.Helper()
		got, err := parseHostPort(text, forConnecting)
		if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("parseHostPort(%q) = %v, %v; want an error with %q", text, got, err, why)
		}
	}
	bad("10.0.0.5:0", "port 0")
	bad(":6379", "names no host")
	bad("0.0.0.0:6379", "names no host")
	bad("[::]:6379", "names no host")
	bad("redis://:hunter2@10.0.0.5:6379/0", `write "10.0.0.5:6379"`)
	bad("user:hunter2@10.0.0.5:6379", "[pool.auth]")
}

// TestUnitsRoundTrip sees that the canonical text of any value is read back as that value, and that
// it is the canonical text of itself.
func TestUnitsRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		b := Bytes(rng.Int64() >> rng.IntN(63))
		if rng.IntN(2) == 0 {
			b = Bytes(rng.Int64N(1000)) * byteUnits[rng.IntN(len(byteUnits))].size
		}
		if got, err := ParseBytes(b.String()); err != nil || got != b {
			t.Fatalf("%d -> %q -> %d, %v", b, b, got, err)
		}
		d := Duration(rng.Int64() >> rng.IntN(63))
		if rng.IntN(2) == 0 {
			d = Duration(rng.Int64N(5000)) * Duration([]time.Duration{time.Millisecond, time.Second, time.Minute}[rng.IntN(3)])
		}
		if got, err := ParseDuration(d.String()); err != nil || got != d {
			t.Fatalf("%d -> %q -> %d, %v", d, d, got, err)
		}
		set := Slots{}
		for s := rng.IntN(50); s < clusterSlots; s += 2 + rng.IntN(4000) {
			to := min(s+rng.IntN(100), clusterSlots-1)
			set = append(set, Range{uint16(s), uint16(to)})
			s = to
		}
		if got, err := ParseSlots(set.String()); err != nil || fmt.Sprint(got) != fmt.Sprint(set) || got.String() != set.String() {
			t.Fatalf("%q -> %q, %v", set, got, err)
		}
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"loops", "max_clients", "admin", "drain_timeout", "log_level", "log_format", "limits", "client_output"}
	f := func(name, want string) {
		t.Helper()
		if got := nearest(name, keys); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
	f("max_cleints", "max_clients")
	f("MaxClients", "max_clients")
	f("max-clients", "max_clients")
	f("max_client", "max_clients")
	f("loop", "loops")
	f("limit", "limits")
	f("client_out", "client_output")
	f("log_fromat", "log_format")
	f("timeout", "")
	f("x", "")
	f("", "")
	f(strings.Repeat("loops", 1000), "")
}

func FuzzUnits(f *testing.F) {
	for _, s := range []string{"64mb", "1.5h", "0-511,600", "tcp://[::1]:6380", "unix:///run/s.sock?mode=0660", "10.0.0.5:6379", "10.0.0.5:6379=2", "[fd00::5]:6379=eu-1a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if b, err := ParseBytes(s); err == nil {
			if again, err := ParseBytes(b.String()); err != nil || again != b {
				t.Errorf("bytes %q -> %q -> %q, %v", s, b, again, err)
			}
		}
		if d, err := ParseDuration(s); err == nil {
			if again, err := ParseDuration(d.String()); err != nil || again != d {
				t.Errorf("duration %q -> %q -> %q, %v", s, d, again, err)
			}
		}
		if set, err := ParseSlots(s); err == nil {
			if again, err := ParseSlots(set.String()); err != nil || again.String() != set.String() {
				t.Errorf("slots %q -> %q -> %q, %v", s, set, again, err)
			}
		}
		if l, err := ParseListen(s); err == nil {
			if again, err := ParseListen(l.String()); err != nil || again != l {
				t.Errorf("listen %q -> %q -> %q, %v", s, l, again, err)
			}
		}
		if w, err := ParseWeight(s); err == nil {
			if again, err := ParseWeight(w.String()); err != nil || again != w {
				t.Errorf("weight %q -> %q -> %q, %v", s, w, again, err)
			}
		}
		if z, err := ParseNodeZone(s); err == nil {
			if again, err := ParseNodeZone(z.String()); err != nil || again != z {
				t.Errorf("zone %q -> %q -> %q, %v", s, z, again, err)
			}
		}
		if a, err := parseHostPort(s, forConnecting); err == nil {
			if again, err := parseHostPort(a.String(), forConnecting); err != nil || again != a {
				t.Errorf("address %q -> %q -> %q, %v", s, a, again, err)
			}
		}
	})
}
