package fakecodis

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// kinds are all behaviours, for faults that are the same in all.
var kinds = []Kind{CodisServer, Pika35, Pika40, PikaFixed}

func each(t *testing.T, f func(t *testing.T, s, target *Server)) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) { f(t, start(t, kind, Options{}), start(t, kind, Options{})) })
	}
}

func TestRefuseConnections(t *testing.T) {
	each(t, func(t *testing.T, s, _ *Server) {
		c := connect(t, s)
		c.expect(t, "+PONG\r\n", "PING") // So it is accepted, and does not go down with the listener.
		if err := s.Faults.RefuseConnections(true); err != nil {
			t.Fatal(err)
		}
		refused(t, s)
		c.expect(t, "+PONG\r\n", "PING")
		for range 2 { // The second has nothing to do.
			if err := s.Faults.RefuseConnections(false); err != nil {
				t.Fatal(err)
			}
		}
		connect(t, s).expect(t, "+PONG\r\n", "PING")
	})
}

func TestFreezeStopsAllAndThawGoesOn(t *testing.T) {
	each(t, func(t *testing.T, s, _ *Server) {
		s.Faults.Freeze()
		set := later(t, s, "SET", "a", "1")
		running(t, s, "SET", 1)
		if v := s.Do("EXISTS", "a").Integer(); v != 0 {
			t.Error("it has run while frozen")
		}
		s.Faults.Thaw()
		if got := set(); got != "+OK\r\n" {
			t.Errorf("got %q", got)
		}
		s.Faults.Freeze()
		ping := later(t, s, "PING")
		running(t, s, "PING", 1)
		if err := s.Restart(); err != nil { // A frozen process can be killed.
			t.Fatal(err)
		}
		if got := ping(); got != "EOF" {
			t.Errorf("got %q", got)
		}
		s.Faults.Thaw()
		connect(t, s).expect(t, "$1\r\n1\r\n", "GET", "a")
	})
}

// TestDieAtEachStep: what the step says has happened, and what it says has not.
func TestDieAtEachStep(t *testing.T) {
	f := func(step Step, async, onTarget, onSource bool) {
		t.Helper()
		each(t, func(t *testing.T, s, target *Server) {
			s.Do("SET", "a", "1")
			addr := s.Addr()
			if step == Reply || step == Command {
				s.Faults.Die(step, "slotsmgrttagone")
			} else {
				s.Faults.Die(step)
			}
			request := tagOne(target, 1000, "a")
			if async {
				request = batchOf(s, target, "a", 10)
			}
			if got := later(t, s, request...)(); got != "EOF" && (s.Kind() == CodisServer || got != pairReply(0, 1)) {
				t.Errorf("got %q", got)
			}
			testbed.Eventually(t, func() error {
				if s.host.Go(func(context.Context) {}) {
					return fmt.Errorf("it is alive")
				}
				return nil
			}, 5e9)
			s.Kill() // Waits for its goroutines.
			refused(t, s)
			if target.Do("EXISTS", "a").Integer() == 1 != onTarget || s.Do("EXISTS", "a").Integer() == 1 != onSource {
				t.Errorf("on target %s, on source %s", target.Do("EXISTS", "a"), s.Do("EXISTS", "a"))
			}
			if err := s.Restart(); err != nil {
				t.Fatal(err)
			}
			if s.Addr() != addr {
				t.Errorf("it was %s and is %s", addr, s.Addr())
			}
			connect(t, s).expect(t, "+PONG\r\n", "PING")
		})
	}
	f(Command, false, false, true)
	f(SyncRead, false, false, true)
	f(SyncSend, false, false, true)
	f(SyncDelete, false, true, true)
	f(Reply, false, true, false)
	f(AsyncRead, true, false, true)
	f(AsyncSend, true, false, true)
	f(AsyncDelete, true, true, true)
}

func TestStallDelaysAStep(t *testing.T) {
	s, target := StartPika(t, Pika40, Options{}), StartPika(t, Pika40, Options{})
	s.Do("SET", "a", "1")
	c := connect(t, s)
	const d = 50 * time.Millisecond
	f := func(step Step, commands []string, args ...string) {
		t.Helper()
		stop := s.Faults.Stall(step, d, commands...)
		begun := time.Now()
		c.mustAsk(t, args...)
		if took := time.Since(begun); took < d {
			t.Errorf("%s took %s", args[0], took)
		}
		stop()
	}
	f(Command, nil, "PING")
	f(Command, []string{"get"}, "GET", "a")
	f(Reply, []string{"PING", "GET"}, "GET", "a")
	f(SyncRead, nil, tagOne(target, 1000, "a")...)
}

// TestHoldIsForItsCommands: others pass.
func TestHoldIsForItsCommands(t *testing.T) {
	s := StartPika(t, Pika35, Options{})
	hold := s.Faults.Hold(Reply, "set")
	set := later(t, s, "SET", "a", "1")
	arrived(t, hold)
	has(t, of(s), "a", "1") // It has run.
	connect(t, s).expect(t, "$1\r\n1\r\n", "GET", "a")
	hold.Release()
	hold.Release()
	if got := set(); got != "+OK\r\n" {
		t.Errorf("got %q", got)
	}
	first := s.Faults.HoldNext(Command, "SET")
	set = later(t, s, "SET", "a", "2")
	arrived(t, first)
	connect(t, s).expect(t, "+OK\r\n", "SET", "a", "3")
	first.Release()
	set()
	has(t, of(s), "a", "2")
}

func TestRefuseMigration(t *testing.T) {
	each(t, func(t *testing.T, s, target *Server) {
		s.Do("SET", "a", "1")
		s.Faults.RefuseMigration(true)
		c := connect(t, s)
		batch, one := PikaBusy, PikaConnectError
		if s.Kind() == CodisServer {
			batch, one = CodisConnectionClosed, CodisWriteError
		}
		c.expect(t, batch, batchOf(s, target, "a", 10)...)
		c.expect(t, one, tagOne(target, 1000, "a")...)
		c.expect(t, one, tagOne(target, 1000, "a")...)
		s.Faults.RefuseMigration(false)
		c.expect(t, ":1\r\n", tagOne(target, 1000, "a")...)
		if got := c.mustAsk(t, batchOf(s, target, "a", 10)...); got == batch {
			t.Errorf("%q", got)
		}
	})
}

func TestAnswerSomeTimes(t *testing.T) {
	s, target := StartPika(t, Pika40, Options{}), StartPika(t, Pika40, Options{})
	s.Do("SET", "a", "1")
	s.Faults.Answer("slotsmgrttagone", PikaTypeError, 2)
	c := connect(t, s)
	c.expect(t, PikaTypeError, tagOne(target, 1000, "a")...)
	c.expect(t, PikaTypeError, tagOne(target, 1000, "a")...)
	c.expect(t, ":1\r\n", tagOne(target, 1000, "a")...)
}

func TestWrapperLies(t *testing.T) {
	s, target := StartPika(t, Pika40, Options{}), StartPika(t, Pika40, Options{})
	s.Do("SET", "{a}1", "1")
	s.Do("SET", "{a}2", "1")
	c := connect(t, s)
	hold := s.Faults.Hold(AsyncRead)
	c.expect(t, pairReply(0, 2), batchOf(s, target, "{a}", 1)...)
	arrived(t, hold)
	s.Faults.FalseZero("{a}1")
	c.expect(t, pairReply(0, 0), wrapped("{a}1", "GET", "{a}1")...)
	c.expect(t, pairReply(1, 1), wrapped("{a}2", "GET", "{a}2")...)
	s.Faults.FalseZero()
	c.expect(t, pairReply(1, 1), wrapped("{a}1", "GET", "{a}1")...)
	s.Faults.MinusOne(time.Hour)
	c.expect(t, pairReply(-1, -1), wrapped("{a}1", "GET", "{a}1")...)
	s.Faults.MinusOne(0)
	c.expect(t, pairReply(1, 1), wrapped("{a}1", "GET", "{a}1")...)
	hold.Release()
}

func TestStates(t *testing.T) {
	each(t, func(t *testing.T, s, target *Server) {
		codis := s.Kind() == CodisServer
		pick := func(forCodis, forPika string) string {
			if codis {
				return forCodis
			}
			return forPika
		}
		c := connect(t, s)
		s.Faults.Readonly(true)
		readonly := pick("-READONLY You can't write against a read only slave.\r\n", "-ERR READONLY You can't write against a read only replica.\r\n")
		c.expect(t, readonly, "SET", "a", "1")
		c.expect(t, readonly, wrapped("a", "GET", "a")...)
		c.expect(t, "$-1\r\n", "GET", "a")
		c.expect(t, pick(readonly, ":0\r\n"), tagOne(target, 100, "a")...)
		if info := c.mustAsk(t, "INFO", "replication"); !strings.Contains(info, "role:slave") {
			t.Errorf("%q", info)
		}
		s.Faults.Readonly(false)
		s.Faults.Loading(true)
		c.expect(t, pick("-LOADING Redis is loading the dataset in memory\r\n", "$-1\r\n"), "GET", "a")
		s.Faults.Loading(false)
		s.RequireAuth("secret")
		c.expect(t, pick("-NOAUTH Authentication required.\r\n", "-ERR NOAUTH Authentication required.\r\n"), "GET", "a")
		c.expect(t, pick("-ERR invalid password\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"), "AUTH", "wrong")
		c.expect(t, "+OK\r\n", "AUTH", "secret")
		c.expect(t, "$-1\r\n", "GET", "a")
	})
}

func TestInfo(t *testing.T) {
	f := func(kind Kind, section, want string) {
		t.Helper()
		s := start(t, kind, Options{})
		s.SetReplicationInfo("role:slave\nmaster_link_status:down\n")
		args := []string{"INFO"}
		if section != "" {
			args = append(args, section)
		}
		got := connect(t, s).mustAsk(t, args...)
		if !strings.Contains(got, want) || kind != CodisServer && strings.Contains(got, "redis_version") {
			t.Errorf("%s %q:\n%s", kind, args, got)
		}
	}
	f(CodisServer, "", "redis_version:3.2.11\r\n")
	f(CodisServer, "replication", "# Replication\r\nrole:slave\r\nmaster_link_status:down\r\n")
	f(CodisServer, "nosuch", "$0\r\n\r\n")
	f(Pika35, "server", "pika_version:3.5.5\r\n")
	f(Pika40, "", "pika_version:4.0.0\r\n")
	f(Pika40, "REPLICATION", "# Replication(MASTER)\r\nrole:slave\r\nmaster_link_status:down\r\n")
	f(PikaFixed, "stats", "is_slots_migrating:No, , 0\r\n")
}

// TestPipelineKeepsOrder: replies come in order, and an inline command is one.
func TestPipelineKeepsOrder(t *testing.T) {
	each(t, func(t *testing.T, s, _ *Server) {
		c := connect(t, s)
		if _, err := c.conn.Write([]byte("SET a 1\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$6\r\nEXISTS\r\n$1\r\na\r\nNOSUCH\r\n*1\r\n$4\r\nPING\r\n")); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"+OK\r\n", "$1\r\n1\r\n", ":1\r\n", "-ERR unknown", "+PONG\r\n"} {
			if got, err := c.reply(); err != nil || !strings.HasPrefix(got, want) {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		}
	})
}
