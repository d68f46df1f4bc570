package check

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// alone is a client without a connection, with one value and one counter, both of
// version 1.
func alone(t *testing.T, c Consistency) (*client, *register, *counter) {
	t.Helper()
	cfg := Defaults(Reads)
	cfg.Consistency, cfg.ObservedPercent, cfg.Clients, cfg.Keys = c, 0, 1, 60
	a := unconnected(t, cfg).clients[0]
	a.repliedAt = 1000
	for _, r := range a.values {
		for _, k := range a.counters {
			if r.base != "" && k.loaded {
				return a, r, k
			}
		}
	}
	t.Fatal("no key has a value before the load")
	return nil, nil, nil
}

func expect(t *testing.T, what string, got verdict, want Kind) {
	t.Helper()
	if got.text == "" || got.kind != want {
		t.Errorf("%s: got %q (%s), want %s", what, got.text, got.kind, want)
	}
}

func accept(t *testing.T, what string, got verdict) {
	t.Helper()
	if got.text != "" {
		t.Errorf("%s: got %s: %s", what, got.kind, got.text)
	}
}

func TestARefusedValueMustNotBeRead(t *testing.T) {
	for c := range consistencies {
		a, r, _ := alone(t, c)
		x := r.next()
		accept(t, "refusal", r.refuse(x))
		expect(t, c.String(), a.readValue(&request{call: 10}, r, x), Ran)
	}
	// It was read first.
	a, r, _ := alone(t, Eventual)
	x := r.next()
	accept(t, "read ahead", a.readValue(&request{call: 10}, r, x))
	expect(t, "refused after it was read", r.refuse(x), Ran)
}

func TestAWriteBehindTheReadInThePipeline(t *testing.T) {
	for c := range consistencies {
		a, r, k := alone(t, c)
		x := r.next()
		k.sent++
		value := a.readValue(&request{call: 10}, r, x)
		number := a.readCounter(&request{call: 10}, k, k.start+1, false)
		if c == Linearizable {
			expect(t, "value", value, Stale)
			expect(t, "counter", number, Twice)
			continue
		}
		accept(t, "value", value)
		accept(t, "counter", number)
		if a.own.ahead != 2 {
			t.Errorf("%s: %d reads ahead, want 2", c, a.own.ahead)
		}
		accept(t, "increment", k.wroteAt(k.start+1, 20, 0))
		expect(t, "more than was sent", a.readCounter(&request{call: 30}, k, k.start+2, false), Twice)
	}
}

func TestAnUnknownOutcomeThatWasReadHasTakenEffect(t *testing.T) {
	for c := range consistencies {
		a, r, k := alone(t, c)
		before, x := r.base, r.next()
		r.maybe(x)
		accept(t, "read", a.readValue(&request{call: 10}, r, x))
		accept(t, "final", r.final(x))
		expect(t, c.String()+": final", r.final(before), Lost)

		k.sent++
		k.maybe()
		accept(t, "count", a.readCounter(&request{call: 10}, k, k.start+1, false))
		k.sent++
		expect(t, c.String()+": increment", k.wroteAt(k.start+1, 20, 0), Stale)
	}
	// The read came before the outcome was known to be unknown.
	a, r, _ := alone(t, Eventual)
	before, x := r.base, r.next()
	accept(t, "read ahead", a.readValue(&request{call: 10}, r, x))
	r.maybe(x)
	expect(t, "final", r.final(before), Lost)
}

// TestALateWriteIsNotOld: it may have come after those that were sent later.
func TestALateWriteIsNotOld(t *testing.T) {
	for _, c := range []Consistency{ReadYourWrites, Monotonic, Eventual} {
		a, r, _ := alone(t, c)
		a.cfg.MaxAge = 1
		late := r.next()
		r.maybe(late)
		newer := r.next()
		r.wroteAt(newer, 20, 0)
		accept(t, "newer", a.readValue(&request{call: 50}, r, newer))
		accept(t, "late", a.readValue(&request{call: 60}, r, late))
		if a.own.stale+a.staleOwn+a.own.back > 0 {
			t.Errorf("%s: counted as stale", c)
		}
		accept(t, "final", r.final(late))
	}
}

// TestAWriteInDoubtAmongOthersOnTheirWay: two writes are on their way when another
// client reads the first. Its outcome turns out to be unknown, so it may have come
// behind the second, in each order in which the replies can be taken.
func TestAWriteInDoubtAmongOthersOnTheirWay(t *testing.T) {
	for c := range consistencies {
		for order := range 5 {
			cfg := Defaults(Reads)
			cfg.Consistency, cfg.ObservedPercent, cfg.ObservedKeys, cfg.Clients = c, 50, 2, 2
			reader := unconnected(t, cfg).clients[1]
			o := reader.run.space.observed[0]
			first, second := o.next(), o.next()
			at := time.Duration(1000)
			read := func(x string) {
				t.Helper()
				at += 10
				reader.repliedAt = at
				accept(t, fmt.Sprintf("%s, order %d: read", c, order), reader.readObserved(&request{call: at - 5}, o, x))
			}
			steps := []func(){
				func() { o.maybe(first) },
				func() { at += 10; accept(t, "write", o.wrote(second, at, 0)) },
			}
			for i := range len(steps) + 1 { // The reads are taken before, between and behind them.
				if order < 3 && i >= order || order == 3 && i != 1 {
					read(first)
				}
				if order == 4 {
					read(second)
					read(first)
				}
				if i < len(steps) {
					steps[i]()
				}
			}
			read(first)
			read(o.next())
		}
	}
}

// TestAReadBehindAnOpenWriteIsJudgedLater: the write was acknowledged, so it came
// before the one that had been read.
func TestAReadBehindAnOpenWriteIsJudgedLater(t *testing.T) {
	cfg := Defaults(Reads)
	cfg.Consistency, cfg.ObservedPercent, cfg.ObservedKeys, cfg.Clients = Linearizable, 50, 2, 2
	reader := unconnected(t, cfg).clients[1]
	o := reader.run.space.observed[0]
	first, second := o.next(), o.next()
	reader.repliedAt = 1000
	accept(t, "second", reader.readObserved(&request{call: 900}, o, second))
	reader.repliedAt = 1100
	accept(t, "first", reader.readObserved(&request{call: 1050}, o, first))
	expect(t, "first acknowledged", o.wrote(first, 1200, 0), Stale)
	accept(t, "second acknowledged", o.wrote(second, 1300, 0))
}

func TestCountersOfOtherKeys(t *testing.T) {
	a, _, k := alone(t, Eventual)
	expect(t, "below", a.readCounter(&request{call: 10}, k, k.start-1, false), Wrong)
	accept(t, "before it was there", a.readCounter(&request{call: 10}, k, 0, true))
	if a.staleOwn != 1 || a.own.stale != 1 {
		t.Errorf("%d and %d stale reads, want 1", a.staleOwn, a.own.stale)
	}
}

// TestWeakRunsHaveTheirOwnKeys: a replica may still have those of an earlier run.
func TestWeakRunsHaveTheirOwnKeys(t *testing.T) {
	for c := range consistencies {
		_, r, k := alone(t, c)
		_, again, _ := alone(t, c)
		if same := r.key == again.key; same != (c == Linearizable) {
			t.Errorf("%s: keys %s and %s", c, r.key, again.key)
		}
		if c != Linearizable && !strings.HasPrefix(k.key, "k:cnt:") {
			t.Errorf("counter %s", k.key)
		}
	}
}
