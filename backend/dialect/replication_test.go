package dialect

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sluice/router/lag"
)

var update = flag.Bool("update", false, "write the golden files")

const recorded = "testdata/replication"

// samples returns the recorded answers by name.
func samples(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob(recorded + "/*-*.txt")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	texts := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[strings.TrimSuffix(filepath.Base(file), ".txt")] = string(text)
	}
	return texts
}

// describe writes what is not unknown.
func describe(r lag.Replication) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s offset=%d id=%.6s", r.Role, r.Offset, r.ID)
	if r.ID2 != "" || r.SecondOffset != -1 {
		fmt.Fprintf(&b, " id2=%.6s up to %d", r.ID2, r.SecondOffset)
	}
	if r.MasterAddr != "" || r.LinkUp {
		fmt.Fprintf(&b, " of %s up=%t", r.MasterAddr, r.LinkUp)
	}
	if r.Syncing {
		b.WriteString(" syncing")
	}
	if r.Unfit != "" {
		fmt.Fprintf(&b, " unfit: %s", r.Unfit)
	}
	for _, l := range r.Replicas {
		fmt.Fprintf(&b, "\n    %s online=%t offset=%d %s", l.Addr, l.Online, l.Offset, l.State)
	}
	return b.String() + "\n"
}

func TestRecordedReplication(t *testing.T) {
	golden := filepath.Join(recorded, "golden.txt")
	var b strings.Builder
	texts := samples(t)
	for _, name := range sorted(texts) {
		fmt.Fprintf(&b, "%s\n  %s", name, describe(ParseReplication([]byte(texts[name]))))
	}
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, wanted := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(wanted)) {
		if i >= len(got) || i >= len(wanted) || got[i] != wanted[i] {
			t.Fatalf("line %d of %s differs; got:\n%s", i+1, golden, b.String())
		}
	}
}

func sorted(texts map[string]string) []string {
	files, _ := filepath.Glob(recorded + "/*-*.txt") // Sorted; samples has looked at the error.
	names := make([]string, 0, len(texts))
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".txt"))
	}
	return names
}

// The same text means the same on the wire, with line feeds alone and among other sections.
func TestReplicationInAnyFrame(t *testing.T) {
	const before = "# Server\r\nrole:nobody\r\ndb0:connected\r\n\r\n"
	const behind = "\r\n# Keyspace\r\ndb0:keys=1,expires=0\r\nslave0:ip=1.2.3.4,port=1,state=online,offset=1\r\n# Use \"info keyspace 1\" to do async statistics\r\n"
	for name, text := range samples(t) {
		want := ParseReplication([]byte(text))
		if want.Role == lag.RoleUnknown {
			t.Errorf("%s: unknown", name)
		}
		for _, framed := range []string{
			fmt.Sprintf("$%d\r\n%s\r\n", len(text), text),
			fmt.Sprintf("=%d\r\ntxt:%s\r\n", len(text)+4, text),
			strings.ReplaceAll(text, "\r\n", "\n"),
			before + text + behind,
			fmt.Sprintf("$%d\r\n%s\r\n", len(before+text+behind), before+text+behind),
			strings.TrimPrefix(text, text[:strings.Index(text, "\n")+1]), // Without the heading.
		} {
			if got := ParseReplication([]byte(framed)); !reflect.DeepEqual(got, want) {
				t.Errorf("%s in %.40q: %s, want %s", name, framed, describe(got), describe(want))
			}
		}
	}
}

// An answer that is cut off says nothing that the whole does not say, and nothing in favour of the server.
func TestHalfAnswers(t *testing.T) {
	for name, text := range samples(t) {
		whole := ParseReplication([]byte(text))
		for n := range len(text) {
			got := ParseReplication([]byte(text[:n]))
			if err := notBetter(got, whole); err != nil {
				t.Fatalf("%s cut off behind %q: %v", name, text[max(0, n-30):n], err)
			}
			framed := ParseReplication([]byte(fmt.Sprintf("$%d\r\n%s", len(text), text[:n])))
			if !reflect.DeepEqual(framed, unknown) {
				t.Fatalf("%s, %d of %d bytes: %s", name, n, len(text), describe(framed))
			}
		}
	}
}

var unknown = lag.Replication{Offset: -1, SecondOffset: -1}

// notBetter says what half an answer has that the whole does not.
func notBetter(half, whole lag.Replication) error {
	switch {
	case half.Role != whole.Role && half.Role != lag.RoleUnknown:
		return fmt.Errorf("role %s", half.Role)
	case half.Offset != whole.Offset && half.Offset != -1:
		return fmt.Errorf("offset %d", half.Offset)
	case half.ID != whole.ID && half.ID != "" || half.ID2 != whole.ID2 && half.ID2 != "":
		return fmt.Errorf("id %q, %q", half.ID, half.ID2)
	case half.MasterAddr != whole.MasterAddr && half.MasterAddr != "":
		return fmt.Errorf("master %s", half.MasterAddr)
	case half.LinkUp && !whole.LinkUp:
		return fmt.Errorf("the link is up")
	case half.LinkUp && half.Unfit == "" && whole.Unfit != "":
		return fmt.Errorf("it is fit")
	case half.LinkUp && half.Syncing != whole.Syncing:
		return fmt.Errorf("syncing: %t", half.Syncing)
	case len(half.Replicas) > len(whole.Replicas):
		return fmt.Errorf("%d replicas", len(half.Replicas))
	}
	for i, r := range half.Replicas {
		if r != whole.Replicas[i] {
			return fmt.Errorf("replica %+v", r)
		}
	}
	return nil
}

func TestReplicationThatMeansNothing(t *testing.T) {
	f := func(info string, want lag.Replication) {
		t.Helper()
		if got := ParseReplication([]byte(info)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %s, want %s", info, describe(got), describe(want))
		}
	}
	f("", unknown)
	f("$-1\r\n", unknown)
	f("$x\r\nrole:master\r\n", unknown)
	f("$99999999999999999999\r\nrole:master\r\n", unknown)
	f("-NOAUTH Authentication required.\r\n", unknown)
	f("-LOADING Redis is loading the dataset in memory\r\n", unknown)
	f("role:sentinel\r\n", unknown)
	f("role:master\r\nrole:slave\r\n", unknown)
	f("role:master", unknown)
	f("role: master\r\nmaster_repl_offset:5\r\n", lag.Replication{Role: lag.Master, Offset: 5, SecondOffset: -1})
	for _, bad := range []string{"", "-7", "+7", "7x", "99999999999999999999", "0x7"} {
		f("role:master\r\nmaster_repl_offset:"+bad+"\r\n", lag.Replication{Role: lag.Master, Offset: -1, SecondOffset: -1})
	}
	f("role:slave\r\nmaster_host:a\r\nmaster_port:0\r\nslave_repl_offset:-1\r\n", lag.Replication{Role: lag.Replica, Offset: -1, SecondOffset: -1})
	f("role:slave\r\nmaster_host:\r\nmaster_port:6379\r\n", lag.Replication{Role: lag.Replica, Offset: -1, SecondOffset: -1})
	f("role:slave\r\nmaster_host:2001:db8::1\r\nmaster_port:6379\r\n", lag.Replication{Role: lag.Replica, Offset: -1, SecondOffset: -1, MasterAddr: "[2001:db8::1]:6379"})
	f("role:slave\r\nmaster_link_status:up\r\n", lag.Replication{Role: lag.Replica, Offset: -1, SecondOffset: -1}) // Nothing of a copy.
	f("role:replica\r\nmaster_host:a\r\nmaster_port:1\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\nmaster_host:b\r\nmaster_port:2\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\n",
		lag.Replication{Role: lag.Replica, Offset: -1, SecondOffset: -1, Unfit: "it follows more than one master"})
	f("role:master\r\nmaster_replid2:abc\r\nsecond_repl_offset:-1\r\n", lag.Replication{Role: lag.Master, Offset: -1, SecondOffset: -1})
}

func TestListedReplicas(t *testing.T) {
	f := func(line string, want ...lag.Listed) {
		t.Helper()
		if got := ParseReplication([]byte("role:master\r\n" + line + "\r\n")).Replicas; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", line, got, want)
		}
	}
	f("slave0:ip=10.0.0.2,port=6379,state=online,lag=0", lag.Listed{Addr: "10.0.0.2:6379", Online: true, State: "online", Offset: -1})
	f("slave7:ip=::1,port=6379,state=online,offset=14,lag=0", lag.Listed{Addr: "[::1]:6379", Online: true, State: "online", Offset: 14})
	f("slave0:ip=a,port=1,state=wait_bgsave,offset=0", lag.Listed{Addr: "a:1", State: "wait_bgsave"})
	f("slave0:ip=a,port=1,state=,offset=3,lag=0", lag.Listed{Addr: "a:1", Offset: 3})
	f("slave0:ip=a,port=1", lag.Listed{Addr: "a:1", Offset: -1})
	f("slave0:ip=a,port=1,conn_fd=8,lag=(db0:0)(db1:full syncing)", lag.Listed{Addr: "a:1", State: "full syncing", Offset: -1})
	f("slave0:ip=a,port=1,conn_fd=8,lag=(db0:not syncing)", lag.Listed{Addr: "a:1", State: "not syncing", Offset: -1})
	f("slave0:ip=a,port=1,conn_fd=8,lag=(db0:76)(db1:0)", lag.Listed{Addr: "a:1", Online: true, State: "online", Offset: -1})
	f("slave0:ip=a,port=1,conn_fd=8,lag=(db0:7", lag.Listed{Addr: "a:1", State: "unknown", Offset: -1})
	f("slave0:ip=a,port=1,conn_fd=8,lag=()", lag.Listed{Addr: "a:1", State: "unknown", Offset: -1})
	f("slave0:ip=a,port=1,conn_fd=8,lag=", lag.Listed{Addr: "a:1", Offset: -1})
	f("slave0:ip=a,port=99999,state=online,offset=1")
	f("slave0:port=1,state=online,offset=1")
	f("slave_0:ip=a,port=1,state=online,offset=1")
	f("slave0:ip=a,port=1,state=send_bulk,offset=0,lag=0,type=rdb-channel")
}

func FuzzParseReplication(f *testing.F) {
	for _, text := range samples(f) {
		f.Add([]byte(text))
		f.Add([]byte(fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)))
	}
	f.Add([]byte("role:master\nslave0:lag=()(:)\n"))
	f.Fuzz(func(t *testing.T, info []byte) {
		r := ParseReplication(info)
		if r.Role == lag.RoleUnknown && !reflect.DeepEqual(r, unknown) {
			t.Errorf("unknown with %s", describe(r))
		}
		if r.Offset < -1 || r.SecondOffset < -1 || (r.ID2 == "") != (r.SecondOffset == -1) {
			t.Errorf("%s", describe(r))
		}
		if r.Role == lag.Master && (r.MasterAddr != "" || r.LinkUp || r.Syncing) {
			t.Errorf("a master that follows: %s", describe(r))
		}
		for _, l := range r.Replicas {
			if l.Addr == "" || l.Offset < -1 {
				t.Errorf("%+v", l)
			}
		}
	})
}
