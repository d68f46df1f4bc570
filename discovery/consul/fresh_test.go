package consul

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/discovery"
	"sluice/internal/testbed"
	"sluice/router"
)

func TestFreshIsWhatIsInForceNow(t *testing.T) {
	t.Parallel()
	p, d, _ := ownConsul(t, func(cfg *Config) { cfg.Wait = time.Minute })
	fresh := func(wait time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		return p.Fresh(ctx)
	}
	if err := fresh(wait); err != nil { // Nothing is new.
		t.Fatal(err)
	}
	for range 3 {
		p.write(d)
		if err := fresh(wait); err != nil || p.Status().Epoch != d.Epoch.Epoch {
			t.Fatalf("epoch %d is in force, want %d: %v", p.Status().Epoch, d.Epoch.Epoch, err)
		}
	}
	if err := p.server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := fresh(300 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without Consul: %v", err)
	}
	if err := p.server.Restart(); err != nil {
		t.Fatal(err)
	}
	p.eventually(func() error { return fresh(time.Second) })
	if _, err := p.client.KV().DeleteTree(p.root(), nil); err != nil {
		t.Fatal(err)
	}
	if err := fresh(500 * time.Millisecond); err == nil || !strings.Contains(err.Error(), AlarmMissing) {
		t.Errorf("without a topology: %v", err)
	}
}

func TestKickEndsTheBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var asked []uint64
		w := &watch[int]{
			name: watchTopology, wait: time.Minute, health: newHealth(), log: slog.New(slog.DiscardHandler),
			kick: make(chan struct{}, 1), bucket: newBucket(epochBurst, epochMinGap, epochMaxGap), take: func(int) {},
			ask: func(ctx context.Context, opts *api.QueryOptions) (int, *api.QueryMeta, error) {
				asked = append(asked, opts.WaitIndex)
				switch {
				case len(asked) < 12:
					return 0, nil, io.EOF
				case opts.WaitIndex > 0:
					<-ctx.Done()
					return 0, nil, ctx.Err()
				}
				return 0, &api.QueryMeta{LastIndex: 7}, nil
			},
		}
		done := make(chan struct{})
		go func() {
			w.run(ctx)
			close(done)
		}()
		synctest.Wait()
		began := time.Now()
		for len(asked) < 12 {
			notify(w.kick)
			synctest.Wait()
		}
		notify(w.kick) // It waits for index 7.
		synctest.Wait()
		if took := time.Since(began); took > 0 || !slices.Equal(asked[11:], []uint64{0, 7, 0, 7}) || w.health.troubles() > 0 {
			t.Errorf("asked %v in %s", asked, took)
		}
		cancel()
		<-done
	})
}

// standing is a Source with a topology in force, and no Run.
func standing(d *Document, change ...func(*Config)) *Source {
	cfg := Config{Pool: "p", Model: router.CodisModel(slots)}
	for _, f := range change {
		f(&cfg)
	}
	s := New(cfg)
	s.judge(news{doc: d})
	s.comes()
	return s
}

// comes gives all groups of the next topology a master, and puts it into force if it can be.
func (s *Source) comes() bool {
	if s.next != nil {
		for id, g := range s.next.groups {
			if g.master == "" {
				g.master = id + ":1"
				g.members[g.master] = &member{addr: g.master}
			}
		}
	}
	before := s.current
	s.publish(func(discovery.Snapshot) {})
	if s.inflight != nil {
		s.answered(nil)
	}
	return s.current != before
}

// numbered is a barrier with so many groups.
func numbered(epoch uint64, groups int) *Document {
	d := document(make([][]string, groups)...)
	d.Epoch = Epoch{Epoch: epoch, Digest: fmt.Sprint(epoch), Barrier: true}
	return d
}

func TestUnsureProxyTakesWhatIsMoreThanALock(t *testing.T) {
	var sure atomic.Bool
	s := standing(numbered(1, 2), func(cfg *Config) { cfg.MayMove = sure.Load })
	d := numbered(2, 2)
	d.Slots[0] = SlotRange{Slots: "0-7", Group: "1", State: Locked, To: "2"}
	s.judge(news{doc: d})
	if s.comes() {
		t.Error("a lock alone came into force")
	}
	d = numbered(3, 2)
	d.Slots = []SlotRange{
		{Slots: "0-7", Group: "1", State: Locked, To: "2"}, {Slots: "8", Group: "1", State: Stable}, {Slots: "9-15", Group: "2", State: Stable},
	}
	s.judge(news{doc: d})
	if !s.comes() {
		t.Error("a lock kept the rest out")
	}
	if !s.acks.tell(t.Context()) || s.acks.lastErr() == nil {
		t.Error("acknowledged by a proxy that is not sure")
	}
	sure.Store(true)
	if s.acks.tell(t.Context()) || s.acks.lastErr() != nil {
		t.Errorf("not acknowledged: %v", s.acks.lastErr())
	}
}

func TestBarrierAwaitsTheMastersOfBefore(t *testing.T) {
	s := standing(numbered(1, 2))
	master := func(top *topology, addr string) {
		top.groups["1"].members[addr] = &member{addr: addr}
		top.groups["1"].master = addr
	}
	master(s.current, "1:2")
	s.comes()
	s.judge(news{doc: numbered(2, 2)})
	master(s.current, "1:3") // It is not published.
	master(s.next, "1:4")
	s.comes()
	if want := []string{"1:1", "1:2", "1:4", "2:1"}; !slices.Equal(s.acks.owing, want) {
		t.Errorf("awaits %q, want %q", s.acks.owing, want)
	}
}

func TestOlderOneDoesNotComeAfterTheDocumentHasGone(t *testing.T) {
	f := func(gone news, accept bool, want uint64) {
		t.Helper()
		s := standing(numbered(5, 1))
		s.judge(news{doc: numbered(7, 1)})
		s.publish(func(discovery.Snapshot) {})
		if accept {
			s.judge(news{doc: numbered(4, 1)})
			s.Accept()
			s.takeWishes()
		} else {
			s.judge(news{doc: numbered(6, 1)})
		}
		s.judge(gone)
		s.answered(nil)
		s.comes()
		if got := s.current.doc.Epoch.Epoch; got != want {
			t.Errorf("epoch %d is in force, want %d", got, want)
		}
	}
	f(news{err: ErrNoTopology}, false, 7)
	f(news{err: errors.New("no sense")}, false, 7)
	f(news{err: ErrNoTopology}, true, 4)
	f(news{doc: numbered(4, 1)}, true, 4)
}

func TestAwayIsNotRefused(t *testing.T) {
	f := func(err error, want bool) {
		t.Helper()
		if got := away(fmt.Errorf("join: %w", err)); got != want {
			t.Errorf("%v: away %t, want %t", err, got, want)
		}
	}
	f(&url.Error{Op: "Get", URL: "x", Err: io.EOF}, true)
	f(context.DeadlineExceeded, true)
	f(api.StatusError{Code: 500, Body: "No cluster leader"}, true)
	f(api.StatusError{Code: 500, Body: "rpc error: Permission denied"}, false)
	f(api.StatusError{Code: 403, Body: "Permission denied"}, false)
	f(api.StatusError{Code: 429}, false)
	f(errors.New("Unexpected response code: 500 (No cluster leader)"), true)
	f(errors.New("Unexpected response code: 403"), false)
	f(ErrIDTaken, false)
}

func TestAckGoesWithARegress(t *testing.T) {
	t.Parallel()
	client := memberClient(t, testbed.Consul(t), "")
	m := startMember(t, client, nil)
	applied := func(epoch uint64, digest string, barrier bool, want AckRecord) {
		t.Helper()
		m.Applied(epoch, digest, barrier, 0)
		eventually(t, func() error {
			var got AckRecord
			_, err := readKey(client, "acks/p1", &got)
			if s := m.Status(); got != want || s.AckWaits {
				return fmt.Errorf("ack %+v, want %+v; %+v, %w", got, want, s, err)
			}
			return nil
		})
	}
	applied(9, "a", true, AckRecord{Epoch: 9, Digest: "a"})
	applied(5, "b", false, AckRecord{})
	applied(6, "c", true, AckRecord{Epoch: 6, Digest: "c"})
	applied(6, "d", true, AckRecord{Epoch: 6, Digest: "d"})
	applied(7, "e", false, AckRecord{Epoch: 6, Digest: "d"})
	applied(4, "f", true, AckRecord{Epoch: 4, Digest: "f"})
}
