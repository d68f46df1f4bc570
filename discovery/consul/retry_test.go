package consul

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/discovery"
	"sluice/router"
)

// patchy is a Consul without a network: it is away or there, and has no topology and no nodes. It is for tests in virtual
// time. mu guards the fields below it.
type patchy struct {
	mu    sync.Mutex
	away  chan struct{}        // closed when it is away
	sour  map[string]int       // how many questions of a watch still fail when it is there
	asked map[string]time.Time // when a watch was answered first since it is there
}

func (p *patchy) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.away)
}

// comeBack makes so many questions of each watch fail yet.
func (p *patchy) comeBack(sour int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = make(chan struct{})
	p.asked = make(map[string]time.Time)
	p.sour = map[string]int{watchTopology: sour, watchCatalog: sour}
}

// answered is when a watch had its answer.
func (p *patchy) answered(watch string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[watch]
}

// RoundTrip implements http.RoundTripper.
func (p *patchy) RoundTrip(req *http.Request) (*http.Response, error) {
	p.mu.Lock()
	away := p.away
	p.mu.Unlock()
	select {
	case <-away:
		return nil, io.EOF
	default:
	}
	reply := func(code int, body string) (*http.Response, error) {
		return &http.Response{
			StatusCode: code, Header: http.Header{"X-Consul-Index": {"7"}, "X-Consul-Lastcontact": {"0"}},
			Body: io.NopCloser(bytes.NewBufferString(body)), Request: req,
		}, nil
	}
	switch path := strings.TrimPrefix(req.URL.Path, "/v1/"); {
	case path == "session/create":
		return reply(200, `{"ID":"s"}`)
	case strings.HasPrefix(path, "session/renew/"):
		return reply(200, `[{"ID":"s"}]`)
	case path == "txn":
		return reply(200, `{}`)
	case req.Method == http.MethodPut:
		return reply(200, "true")
	case req.URL.Query().Get("index") != "": // Nothing is new.
		select {
		case <-away:
			return nil, io.EOF
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	case strings.HasSuffix(path, keyEpoch) && !p.grants(watchTopology), strings.HasPrefix(path, "health/") && !p.grants(watchCatalog):
		return nil, io.EOF
	case strings.HasPrefix(path, "health/"):
		return reply(200, "[]")
	}
	return reply(404, "")
}

// grants reports whether a watch is answered now.
func (p *patchy) grants(watch string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sour[watch] > 0 {
		p.sour[watch]--
		return false
	}
	if p.asked[watch].IsZero() {
		p.asked[watch] = time.Now()
	}
	return true
}

// The session is tried more often than the watches, and when it is renewed again they don't wait any longer.
func TestWatchesAskWhenTheSessionIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		consul := new(patchy)
		consul.comeBack(0)
		client, err := api.NewClient(&api.Config{Address: "consul", HttpClient: &http.Client{Transport: consul}})
		if err != nil {
			t.Fatal(err)
		}
		s := New(Config{Client: client, Pool: "p", Model: router.CodisModel(slots)})
		m := NewMember(MemberConfig{Client: client, Root: "sluice/p/", ID: "p1", Pool: "p", Addr: "127.0.0.1:1", Unregistered: true, Back: s.Retry})
		var work sync.WaitGroup
		work.Go(func() { m.Run(ctx) })
		work.Go(func() { _ = s.Run(ctx, func(discovery.Snapshot) {}) })
		const sour = 2
		limit := m.cfg.TTL/3 + minPause + 2*minPause // The pauses after what still fails.
		for round := range 10 {
			time.Sleep(5 * time.Minute)
			consul.leave()
			time.Sleep(5 * time.Minute)
			back := time.Now()
			consul.comeBack(sour)
			time.Sleep(5 * time.Minute)
			for _, watch := range []string{watchTopology, watchCatalog} {
				if took := consul.answered(watch).Sub(back); took < 0 || took > limit {
					t.Errorf("round %d: the %s was answered after %s, want at most %s", round, watch, took, limit)
				}
			}
		}
		if s := m.Status(); s.Err != "" || !s.Sure {
			t.Errorf("the member is not well: %s", fmt.Sprint(s))
		}
		cancel()
		work.Wait()
	})
}
