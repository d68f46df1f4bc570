package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// awaitParameter waits until a server itself shows a value.
func awaitParameter(t *testing.T, s *testbed.Server, name, value string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		values := s.Do("CONFIG", "GET", name).Array()
		if len(values) != 2 || values[1].String() != value {
			return fmt.Errorf("%s of %s is %v", name, s.Addr(), values)
		}
		return nil
	}, 60*time.Second)
}

// A subscriber goes on hearing of keys after a failover to a server that never had the setting.
func TestNotificationsAfterAFailover(t *testing.T) {
	t.Parallel()
	r := serveReplicated(t, patience)
	conn, subscriber := connect(t, r.addr), connect(t, r.addr)
	if got := do(t, conn, "CONFIG SET notify-keyspace-events KEA"); got != "+OK" {
		t.Fatal(got)
	}
	if _, err := io.WriteString(subscriber, "PSUBSCRIBE __keyevent@0__:*\r\n"); err != nil {
		t.Fatal(err)
	}
	var heard output
	go func() {
		for lines := bufio.NewScanner(subscriber); lines.Scan(); {
			_, _ = heard.Write(append(lines.Bytes(), ' '))
		}
	}()
	hears := func(key string) {
		t.Helper()
		testbed.Eventually(t, func() error { // While a subscription is made anew what is told is lost.
			if got := do(t, conn, "SET "+key+" v PX 1"); got != "+OK" {
				return fmt.Errorf("SET: %s", got)
			}
			for _, event := range []string{"set", "expired"} {
				if text := "__keyevent@0__:" + event + " $" + fmt.Sprint(len(key)) + " " + key; !strings.Contains(heard.String(), text) {
					return fmt.Errorf("no %q in %q", text, heard.String())
				}
			}
			return nil
		}, 60*time.Second)
	}
	hears("before")
	heir := r.replicas[0]
	if got := heir.Do("CONFIG", "GET", "notify-keyspace-events").Array()[1].String(); got != "" {
		t.Fatalf("the replica has %q", got)
	}
	if err := r.master.Kill(); err != nil {
		t.Fatal(err)
	}
	promote(t, heir, r.replicas[1])
	r.awaitNode(t, heir.Addr(), "master", "serving")
	awaitParameter(t, heir, "notify-keyspace-events", "AKE")
	hears("after")
	if got := do(t, conn, "CONFIG GET notify-keyspace-events"); got != "*2" {
		t.Error(got)
	}
}

// A group that joins has what clients have given the others, also one that was restarted, and what somebody else has
// changed at one master shows in the status.
func TestMastersGetWhatTheOthersHave(t *testing.T) {
	t.Parallel()
	a, b, c := testbed.Redis(t), testbed.Redis(t), testbed.Redis(t)
	config := configFor(a.Addr(), b.Addr(), 511)
	s := serve(t, config)
	conn := connect(t, s.addr)
	library := "#!lua name=l\nredis.register_function('f', function(keys) return 'here' end)"
	for request, want := range map[string]string{
		"CONFIG SET lfu-decay-time 5 slowlog-max-len 3":                                       "+OK",
		fmt.Sprintf("*3\r\n$8\r\nFUNCTION\r\n$4\r\nLOAD\r\n$%d\r\n%s", len(library), library): "l",
	} {
		if got := do(t, conn, request); got != want {
			t.Fatalf("%s: %s", request, got)
		}
	}
	config = strings.Replace(config, "512-1023", "600-1023", 1) + fmt.Sprintf("[[pool.group]]\nid = \"3\"\nmaster = %q\nslots = \"512-599\"\n", c.Addr())
	write(t, s.file, config)
	if code, body := ask(t, http.MethodPost, s.admin+"/-/reload"); code != http.StatusOK {
		t.Fatal(body)
	}
	awaitParameter(t, c, "lfu-decay-time", "5")
	testbed.Eventually(t, func() error {
		if got := c.Do("FCALL", "f", "0").String(); got != "here" {
			return fmt.Errorf("FCALL: %s", got)
		}
		return nil
	}, 60*time.Second)
	for i := range 300 {
		if got := do(t, conn, fmt.Sprintf("FCALL f 1 key%d", i)); got != "here" {
			t.Fatalf("FCALL of key %d: %s", i, got)
		}
	}
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	awaitParameter(t, b, "lfu-decay-time", "5")
	if err := a.Do("CONFIG", "SET", "lfu-decay-time", "9").Error(); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, func() error {
		out, _, exit := sluice(t, "ctl", "--admin", strings.TrimPrefix(s.admin, "http://"), "status")
		if want := `it is "9" at ` + a.Addr(); exit != exitNotWell || !strings.Contains(out, want) {
			return fmt.Errorf("exit code %d, no %q in %s", exit, want, out)
		}
		return nil
	}, 60*time.Second)
	if got := do(t, conn, "CONFIG SET lfu-decay-time 9"); got != "+OK" {
		t.Fatal(got)
	}
	testbed.Eventually(t, func() error {
		if out, _, exit := sluice(t, "ctl", "--admin", strings.TrimPrefix(s.admin, "http://"), "status"); exit != 0 {
			return fmt.Errorf("exit code %d: %s", exit, out)
		}
		return nil
	}, 60*time.Second)
}
