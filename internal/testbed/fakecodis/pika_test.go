package fakecodis

import (
	"fmt"
	"strings"
	"testing"

	"sluice/internal/testbed"
)

// TestPikaTagOneDuringRound: the background does not hold a key. What it has read before SLOTSMGRTTAGONE moved the key
// reaches the target after that has answered, over what a client has written there.
func TestPikaTagOneDuringRound(t *testing.T) {
	s, target := StartPika(t, Pika40, Options{}), StartPika(t, Pika40, Options{})
	s.Do("SET", "a", "old")
	hold := s.Faults.Hold(AsyncSend)
	c := connect(t, s)
	c.expect(t, pairReply(0, 1), batchOf(s, target, "a", 10)...)
	arrived(t, hold)
	c.expect(t, ":1\r\n", tagOne(target, 1000, "a")...)
	connect(t, target).expect(t, "+OK\r\n", "SET", "a", "new")
	hold.Release()
	// The round finds the key gone when it asks for its time to live, and has the target delete it.
	has(t, of(target), "a", "")
}

// TestPikaOlderCopyAfterTagOne: the round has sent its copy and read the time to live, and the target has not taken it
// when SLOTSMGRTTAGONE, on another connection, moves the key. The older value is the last one.
func TestPikaOlderCopyAfterTagOne(t *testing.T) {
	s, target := StartPika(t, Pika40, Options{}), StartPika(t, Pika40, Options{})
	s.Do("SET", "a", "old")
	inTarget, sent := target.Faults.HoldNext(Command, "SET"), s.Faults.HoldNext(AsyncWait)
	c := connect(t, s)
	c.expect(t, pairReply(0, 1), batchOf(s, target, "a", 10)...)
	arrived(t, inTarget)
	arrived(t, sent)
	sent.Release()
	c.expect(t, ":1\r\n", tagOne(target, 1000, "a")...)
	connect(t, target).expect(t, "+OK\r\n", "SET", "a", "new")
	inTarget.Release()
	has(t, of(target), "a", "old")
}

// TestPikaRoundDeletesMovedList: a list that SLOTSMGRTTAGONE moves before the round comes to it is deleted on the
// target.
func TestPikaRoundDeletesMovedList(t *testing.T) {
	s, target := StartPika(t, Pika40, Options{}), StartPika(t, Pika40, Options{})
	s.Do("RPUSH", "a", "1", "2")
	target.Do("SET", "seen", "no")
	hold := s.Faults.Hold(AsyncRead)
	c := connect(t, s)
	c.expect(t, pairReply(0, 1), batchOf(s, target, "a", 10)...)
	arrived(t, hold) // The round's DEL is on its way.
	testbed.Eventually(t, func() error {
		if n := target.Calls("DEL").Seen; n != 1 {
			return fmt.Errorf("%d DEL", n)
		}
		return nil
	}, 5e9)
	c.expect(t, ":1\r\n", tagOne(target, 1000, "a")...)
	hold.Release()
	has(t, of(target), "seen", "no")
	if n := target.Do("LLEN", "a").Integer(); n != 2 {
		t.Fatalf("%d elements", n)
	}
	// The same, with the round standing one key before the list.
	idle(t, c)
	s.Do("SET", "{b}1", "v")
	s.Do("RPUSH", "{b}2", "1")
	hold = s.Faults.Hold(AsyncRead)
	c.expect(t, pairReply(0, 2), batchOf(s, target, "{b}", 10)...)
	arrived(t, hold)
	c.expect(t, ":2\r\n", tagOne(target, 1000, "{b}2")...)
	if n := target.Do("LLEN", "{b}2").Integer(); n != 1 {
		t.Fatalf("%d elements", n)
	}
	hold.Release()
	testbed.Eventually(t, func() error {
		if n := target.Do("EXISTS", "{b}2").Integer(); n != 0 {
			return fmt.Errorf("the list is there")
		}
		return nil
	}, 5e9)
}

// idle waits until no slot moves.
func idle(t *testing.T, c *rawConn) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if status := c.mustAsk(t, "SLOTSMGRT-ASYNC-STATUS"); !strings.Contains(status, "migrating  : no") {
			return fmt.Errorf("status %q", status)
		}
		return nil
	}, 5e9)
}

// TestPikaTagOnesQueue: one lock for all, and a thread for each that waits.
func TestPikaTagOnesQueue(t *testing.T) {
	s, target := StartPika(t, Pika40, Options{Threads: 4}), StartPika(t, Pika40, Options{})
	var replies []func() string
	hold := s.Faults.Hold(SyncRead)
	for i := range 3 {
		key := fmt.Sprint("k", i)
		s.Do("SET", key, "v")
		replies = append(replies, later(t, s, tagOne(target, 1000, key)...))
	}
	running(t, s, "SLOTSMGRTTAGONE", 3)
	arrived(t, hold)
	connect(t, s).expect(t, "+PONG\r\n", "PING") // The fourth thread is free.
	s.Do("SET", "k3", "v")
	replies = append(replies, later(t, s, tagOne(target, 1000, "k3")...))
	running(t, s, "SLOTSMGRTTAGONE", 4)
	testbed.Eventually(t, func() error { return full(s) }, 5e9)
	ping := later(t, s, "PING")
	running(t, s, "PING", 1) // No thread is left.
	hold.Release()
	for i, reply := range replies {
		if got := reply(); got != ":1\r\n" {
			t.Errorf("k%d: %q", i, got)
		}
	}
	if got := ping(); got != "+PONG\r\n" {
		t.Errorf("PING: %q", got)
	}
	if n := s.Calls("slotsmgrttagone"); n != (Calls{Seen: 4, MaxRunning: 4}) {
		t.Errorf("calls %+v", n)
	}
}

func full(s *Server) error {
	if n := len(s.turns); n != cap(s.turns) {
		return fmt.Errorf("%d of %d threads are busy", n, cap(s.turns))
	}
	return nil
}

// TestPikaHungTarget: each parallel TAGONE waits the full timeout behind the others.
func TestPikaHungTarget(t *testing.T) {
	s, target := StartPika(t, Pika40, Options{}), StartPika(t, Pika40, Options{})
	s.Do("SET", "a", "1")
	target.Faults.Freeze()
	defer target.Faults.Thaw()
	first := later(t, s, tagOne(target, 100, "a")...)
	second := later(t, s, tagOne(target, 100, "a")...)
	if a, b := first(), second(); a != PikaTimeout || b != PikaTimeout {
		t.Errorf("got %q and %q", a, b)
	}
	target.Faults.Thaw()
	has(t, of(target), "a", "1") // It is on both sides now.
	has(t, of(s), "a", "1")
}

// TestPikaTeardown: a batch of the next slot is refused until the thread of the last one has ended.
func TestPikaTeardown(t *testing.T) {
	s, target := StartPika(t, Pika40, Options{}), StartPika(t, Pika40, Options{})
	s.Do("SET", "a", "1")
	s.Do("SET", "b", "1")
	hold := s.Faults.Hold(Teardown)
	c := connect(t, s)
	c.expect(t, pairReply(0, 1), batchOf(s, target, "a", 10)...)
	arrived(t, hold)
	has(t, of(target), "a", "1")
	c.expect(t, PikaBusy, batchOf(s, target, "b", 10)...)
	hold.Release()
	testbed.Eventually(t, func() error {
		if reply := c.mustAsk(t, batchOf(s, target, "b", 10)...); reply != pairReply(0, 1) {
			return fmt.Errorf("reply %q", reply)
		}
		return nil
	}, 5e9)
	has(t, of(target), "b", "1")
}

func TestPikaRestartForgetsTheSlot(t *testing.T) {
	s, target := StartPika(t, Pika40, Options{}), StartPika(t, Pika40, Options{})
	s.Do("SET", "{a}1", "1")
	s.Do("SET", "{a}2", "1")
	c := connect(t, s)
	c.expect(t, pairReply(0, 2), batchOf(s, target, "{a}", 1)...)
	c.expect(t, pairReply(1, 1), wrapped("{a}2", "GET", "{a}2")...)
	has(t, of(target), "{a}2", "1")
	s.Do("SET", "{a}3", "1")
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	c = connect(t, s)
	c.expect(t, pairReply(-1, -1), wrapped("{a}3", "GET", "{a}3")...)
	if status := c.mustAsk(t, "SLOTSMGRT-ASYNC-STATUS"); !strings.Contains(status, "slot number: -1") {
		t.Errorf("status %q", status)
	}
	c.expect(t, "$1\r\n1\r\n", "GET", "{a}3")
}

// TestPikaFixedWrapper: it queues the key and runs the command here, with 2 before its reply.
func TestPikaFixedWrapper(t *testing.T) {
	s, target := StartPika(t, PikaFixed, Options{}), StartPika(t, Pika40, Options{})
	s.Do("SET", "{a}1", "1")
	s.Do("SET", "{a}2", "2")
	c := connect(t, s)
	c.expect(t, pairReply(-1, -1), wrapped("{a}2", "GET", "{a}2")...)
	hold := s.Faults.Hold(AsyncRead)
	c.expect(t, pairReply(0, 2), batchOf(s, target, "{a}", 1)...)
	arrived(t, hold)
	c.expect(t, pairReply(1, 1), wrapped("{a}1", "GET", "{a}1")...)
	c.expect(t, "*2\r\n:2\r\n$1\r\n2\r\n", wrapped("{a}2", "GET", "{a}2")...)
	c.expect(t, "*2\r\n:2\r\n$-1\r\n", wrapped("{a}no", "GET", "{a}no")...)
	c.expect(t, "*2\r\n:2\r\n-ERR unknown command \"nosuch\"\r\n", wrapped("{a}3", "NOSUCH")...)
	hold.Release()
	has(t, of(target), "{a}2", "2")
}

// TestPikaStaleCache: a string that was read stays readable where it was after it has moved, on 3.5 after a round and
// after a synchronous move, on 4.0 after the latter.
func TestPikaStaleCache(t *testing.T) {
	f := func(version Kind, async bool, want string) {
		t.Helper()
		s, target := StartPika(t, version, Options{}), StartPika(t, version, Options{})
		c := connect(t, s)
		c.expect(t, "+OK\r\n", "SET", "a", "1")
		c.expect(t, "$1\r\n1\r\n", "GET", "a")
		if async {
			c.expect(t, pairReply(0, 1), batchOf(s, target, "a", 10)...)
		} else {
			c.expect(t, ":1\r\n", tagOne(target, 1000, "a")...)
		}
		testbed.Eventually(t, func() error {
			if reply := c.mustAsk(t, "TYPE", "a"); reply != "+none\r\n" {
				return fmt.Errorf("type %q", reply)
			}
			return nil
		}, 5e9)
		c.expect(t, want, "GET", "a")
		c.expect(t, ":0\r\n", "DEL", "a")
		c.expect(t, "$-1\r\n", "GET", "a")
	}
	f(Pika35, true, "$1\r\n1\r\n")
	f(Pika35, false, "$1\r\n1\r\n")
	f(Pika40, true, "$-1\r\n")
	f(Pika40, false, "$1\r\n1\r\n")
}

// TestPikaDBSIZEAnswersTwice when every slot has a key.
func TestPikaDBSIZEAnswersTwice(t *testing.T) {
	s := StartPika(t, Pika40, Options{Slots: 4})
	for i := range 100 {
		s.Do("SET", fmt.Sprint(i), "v")
	}
	c := connect(t, s)
	c.expect(t, ":100\r\n", "DBSIZE")
	if extra, err := c.reply(); err != nil || extra != ":0\r\n" {
		t.Errorf("then %q, %v", extra, err)
	}
	c.expect(t, "+OK\r\n", "CONFIG", "SET", "slotmigrate", "no")
	c.expect(t, ":100\r\n", "DBSIZE")
	c.expect(t, "+PONG\r\n", "PING")
}

// TestPikaWithoutIndex: keys written with slotmigrate no are not seen until SLOTSRELOAD.
func TestPikaWithoutIndex(t *testing.T) {
	s, target := StartPika(t, Pika40, Options{NoSlotmigrate: true}), StartPika(t, Pika40, Options{})
	c := connect(t, s)
	c.expect(t, "+OK\r\n", "SET", "a", "1")
	c.expect(t, "+OK\r\n", "CONFIG", "SET", "slotmigrate", "yes")
	c.expect(t, pairReply(0, 0), batchOf(s, target, "a", 10)...)
	c.mustAsk(t, "SLOTSRELOAD")
	c.expect(t, pairReply(0, 1), batchOf(s, target, "a", 10)...)
	has(t, of(target), "a", "1")
}
