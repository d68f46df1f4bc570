package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fake"
	"sluice/internal/testbed/fakedragonfly"
)

const setByScript = "return redis.call('set', KEYS[1], ARGV[1])"

// transaction sets a key in a transaction and returns the answer of EXEC.
func (d *dragonflies) transaction(t *testing.T, key, value string) string {
	t.Helper()
	conn := connect(t, d.addr)
	for _, cmd := range []string{"MULTI", "SET " + key + " " + value} {
		if got := do(t, conn, cmd); got != "+OK" && got != "+QUEUED" {
			t.Errorf("%s: %q", cmd, got)
		}
	}
	return execute(t, conn)
}

// execute asks for EXEC of one command and returns its answer, or the error.
func execute(t *testing.T, conn net.Conn) string {
	t.Helper()
	return strings.TrimSpace(strings.TrimPrefix(doRaw(t, conn, "EXEC\r\n"), "*1\r\n"))
}

// script does the same as transaction by a script.
func (d *dragonflies) script(t *testing.T, key, value string) string {
	t.Helper()
	conn := connect(t, d.addr)
	return strings.TrimSpace(doRaw(t, conn, fake.Bulks("EVAL", setByScript, "1", key, value)))
}

// atomically is both, by name.
var atomically = map[string]func(d *dragonflies, t *testing.T, key, value string) string{
	"EXEC": (*dragonflies).transaction, "EVAL": (*dragonflies).script,
}

// What a transaction or a script writes to a slot that migrates is lost by the server: it waits until the slot has
// its new owner, whatever version says which slots they are.
func TestTransactionsAndScriptsWaitForAMigration(t *testing.T) {
	t.Parallel()
	for _, form := range []fakedragonfly.StatusForm{fakedragonfly.Status39, fakedragonfly.Status40, fakedragonfly.Status22} {
		for name, write := range atomically {
			t.Run(fmt.Sprint(name, form), func(t *testing.T) {
				d := serveDragonflies(t, fakedragonfly.Options{Status: form}, "[pool.hold]\nmax_wait = \"2m\"\n")
				key := keyIn(0, 999)
				if got := write(d, t, key, "before"); got != "+OK" {
					t.Fatalf("%q", got)
				}
				before := d.a.Calls(name).Seen
				hold := d.a.Faults.Hold(fakedragonfly.Sending)
				defer hold.Release()
				d.push(t, d.there())
				<-hold.Arrived()
				d.shows(t, "/api/v1/migrations", `"state": "copying"`)
				answer := make(chan string, 1)
				go func() { answer <- write(d, t, key, "after") }()
				d.shows(t, "/metrics", `sluice_holds{pool="main",cause="moving"} 1`)
				if got := do(t, connect(t, d.addr), "SET "+keyIn(0, 999)+"{"+key+"} plain"); got != "+OK" {
					t.Errorf("a plain command: %q", got)
				}
				if form == fakedragonfly.Status40 {
					if got := write(d, t, keyIn(2000, 8191), "v"); got != "+OK" {
						t.Errorf("another slot of the source: %q", got)
					}
					before++
				}
				if got := write(d, t, keyIn(8192, 16383), "v"); got != "+OK" {
					t.Errorf("another node: %q", got)
				}
				if n := d.a.Calls(name).Seen; n != before {
					t.Errorf("the source got %s while the slot migrates", name)
				}
				hold.Release()
				if got := <-answer; got != "+OK" {
					t.Errorf("%q", got)
				}
				if got := d.b.Do("GET", key).String(); got != "after" {
					t.Errorf("the new owner has %q", got)
				}
			})
		}
	}
}

// What was sent before anybody knew of the migration is not taken for done.
func TestTransactionsAndScriptsThatMeetAMigration(t *testing.T) {
	t.Parallel()
	for name, write := range atomically {
		for phase, run := range map[string]func(t *testing.T, d *dragonflies, runs func()){
			"begins": func(t *testing.T, d *dragonflies, runs func()) {
				hold := d.a.Faults.Hold(fakedragonfly.Sending)
				d.push(t, d.there())
				<-hold.Arrived()
				runs()
				hold.Release()
			},
			"ends": func(t *testing.T, d *dragonflies, runs func()) {
				d.push(t, d.there())
				finished(t, d.a, 1)
				runs()
			},
		} {
			if name == "EVAL" && phase == "ends" {
				continue // MOVED, and sent to the new owner.
			}
			t.Run(name+phase, func(t *testing.T) {
				d := serveDragonflies(t, fakedragonfly.Options{}, "[pool.backend]\nrequest_timeout = \"30s\"\n[pool.hold]\nmax_wait = \"2m\"\n")
				key := keyIn(0, 999)
				if got := write(d, t, key, "before"); got != "+OK" {
					t.Fatalf("%q", got)
				}
				exec := d.a.Faults.Hold(fake.Command, name)
				defer exec.Release()
				answer := make(chan string, 1)
				go func() { answer <- write(d, t, key, "after") }()
				<-exec.Arrived()
				run(t, d, func() {
					exec.Release()
					if got := <-answer; !strings.HasPrefix(got, "-ERR outcome unknown: slot ") {
						t.Errorf("%q", got)
					}
				})
				finished(t, d.a, 1)
				if got := write(d, t, key, "again"); got != "+OK" {
					t.Errorf("%q", got)
				}
				if got := d.b.Do("GET", key).String(); got != "again" {
					t.Errorf("the new owner has %q", got)
				}
			})
		}
	}
}

// A WATCH of before the migration is a key that has changed.
func TestWatchedKeyMigrates(t *testing.T) {
	t.Parallel()
	d := serveDragonflies(t, fakedragonfly.Options{}, "[pool.hold]\nmax_wait = \"2m\"\n")
	conn, key := connect(t, d.addr), keyIn(0, 999)
	for _, cmd := range []string{"WATCH " + key, "MULTI", "SET " + key + " v"} {
		do(t, conn, cmd)
	}
	hold := d.a.Faults.Hold(fakedragonfly.Sending)
	defer hold.Release()
	d.push(t, d.there())
	<-hold.Arrived()
	d.shows(t, "/api/v1/migrations", `"state": "copying"`)
	answer := make(chan string, 1)
	go func() { answer <- execute(t, conn) }()
	d.shows(t, "/metrics", `sluice_holds{pool="main",cause="moving"} 1`)
	hold.Release()
	if got := <-answer; got != "*-1" {
		t.Errorf("%q", got)
	}
}

// A server that nobody can be asked about tells the loops, and they believe it for a while.
func TestTransactionsWhereTheWatcherIsBlind(t *testing.T) {
	t.Parallel()
	d := serveDragonfliesAt(t, fakedragonfly.Options{}, "1", "[pool.hold]\nmax_wait = \"100ms\"\n")
	hold := d.a.Faults.Hold(fakedragonfly.Sending)
	defer hold.Release()
	d.push(t, d.there())
	<-hold.Arrived()
	key := keyIn(0, 999)
	if got := d.transaction(t, key, "v"); !strings.HasPrefix(got, "-ERR outcome unknown: slot ") {
		t.Errorf("%q", got)
	}
	if got := d.script(t, key, "v"); !strings.HasPrefix(got, "-TRYAGAIN slot ") {
		t.Errorf("%q", got)
	}
	hold.Release()
	testbed.Eventually(t, func() error {
		if got := d.transaction(t, key, "v"); got != "+OK" {
			return errors.New(got)
		}
		return nil
	}, 20*time.Second)
}
