package dashboard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
)

// Model is what the dashboard wants to know of a proxy.
type Model struct {
	ID          int    `json:"id,omitempty"`
	Token       string `json:"token"`
	StartTime   string `json:"start_time"`
	AdminAddr   string `json:"admin_addr"`
	ProtoType   string `json:"proto_type"`
	ProxyAddr   string `json:"proxy_addr"`
	JodisPath   string `json:"jodis_path,omitempty"`
	ProductName string `json:"product_name"`
	PID         int    `json:"pid"`
	PWD         string `json:"pwd"`
	Sys         string `json:"sys"`
	Hostname    string `json:"hostname"`
	DataCenter  string `json:"datacenter"`
	MaxSlotNum  int    `json:"max_slot_num,omitempty"` // Pika's fork
}

// Stats is the part of a proxy's stats that the dashboard acts upon, and what its page shows in the list of proxies.
type Stats struct {
	Online    bool `json:"online"`
	Closed    bool `json:"closed"`
	Sentinels struct {
		Servers  []string          `json:"servers,omitempty"`
		Masters  map[string]string `json:"masters,omitempty"`
		Switched bool              `json:"switched,omitempty"`
	} `json:"sentinels"`
	Ops struct {
		Total int64 `json:"total"`
		Fails int64 `json:"fails"`
		QPS   int64 `json:"qps"`
	} `json:"ops"`
	Sessions struct {
		Total int64 `json:"total"`
		Alive int64 `json:"alive"`
	} `json:"sessions"`
}

// proxy is one proxy that is registered. Dashboard.mu guards what follows the blank line.
type proxy struct {
	client *http.Client
	admin  string
	token  string
	xauth  string

	last    Stats
	lastErr error
}

// RemoteError is the error that a proxy has answered with.
type RemoteError struct{ Cause string }

func (e *RemoteError) Error() string { return e.Cause }

// The statuses of an answer that is an error: of Codis, and of Pika's fork.
const (
	statusError     = 800
	statusErrorPika = 1500
)

// Online registers the proxy at admin, host:port, unless its token is known, and puts it online: all slots, start,
// sentinels.
func (d *Dashboard) Online(ctx context.Context, admin string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := &proxy{client: d.client, admin: admin}
	var m Model
	if err := p.call(ctx, http.MethodGet, "/api/proxy/model", nil, &m); err != nil {
		return fmt.Errorf("proxy %s: model: %w", admin, err)
	}
	p.admin, p.token, p.xauth = m.AdminAddr, m.Token, xauth(d.opts.Product, d.opts.Auth, m.Token)
	if err := p.guarded(ctx, http.MethodGet, "xping", nil, nil); err != nil {
		return fmt.Errorf("proxy %s: xping: %w", admin, err)
	}
	if i := slices.IndexFunc(d.proxies, func(o *proxy) bool { return o.token == p.token }); i >= 0 {
		d.proxies[i] = p
	} else {
		d.proxies = append(d.proxies, p)
	}
	if err := p.fill(ctx, d.describe(d.slots)); err != nil {
		return fmt.Errorf("proxy %s: fillslots: %w", admin, err)
	}
	if err := p.guarded(ctx, http.MethodPut, "start", nil, nil); err != nil {
		return fmt.Errorf("proxy %s: start: %w", admin, err)
	}
	if err := p.tellSentinels(ctx, d.sentinels); err != nil {
		return fmt.Errorf("proxy %s: sentinels: %w", admin, err)
	}
	return nil
}

// Remove shuts a proxy down and forgets it; with force also when it does not answer.
func (d *Dashboard) Remove(ctx context.Context, admin string, force bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.proxies, func(p *proxy) bool { return p.admin == admin })
	if i < 0 {
		return fmt.Errorf("proxy %s is not known", admin)
	}
	if err := d.proxies[i].guarded(ctx, http.MethodPut, "shutdown", nil, nil); err != nil && !force {
		return fmt.Errorf("proxy %s: shutdown: %w", admin, err)
	}
	d.proxies = slices.Delete(d.proxies, i, i+1)
	return nil
}

// Proxy is the last that was heard of the proxy at admin.
func (d *Dashboard) Proxy(admin string) (Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.proxies {
		if p.admin == admin {
			return p.last, p.lastErr
		}
	}
	return Stats{}, fmt.Errorf("proxy %s is not known", admin)
}

// SetSentinels tells every proxy which sentinels there are.
func (d *Dashboard) SetSentinels(ctx context.Context, servers ...string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sentinels = servers
	return d.onAll(func(p *proxy) error { return p.tellSentinels(ctx, servers) })
}

func (d *Dashboard) knownProxies() []*proxy {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.proxies)
}

// resync fills slots in on every proxy. One that fails makes the whole step fail. d.mu is held.
func (d *Dashboard) resync(ctx context.Context, slots []mapping) error {
	if len(slots) == 0 {
		return nil
	}
	described := d.describe(slots)
	return d.onAll(func(p *proxy) error { return p.fill(ctx, described) })
}

// onAll does something on all proxies at once.
func (d *Dashboard) onAll(do func(p *proxy) error) error {
	errs := make([]error, len(d.proxies))
	var all sync.WaitGroup
	for i, p := range d.proxies {
		all.Go(func() {
			if err := do(p); err != nil {
				errs[i] = fmt.Errorf("proxy %s: %w", p.admin, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (p *proxy) fill(ctx context.Context, slots []Slot) error {
	return p.guarded(ctx, http.MethodPut, "fillslots", slots, nil)
}

func (p *proxy) tellSentinels(ctx context.Context, servers []string) error {
	return p.guarded(ctx, http.MethodPut, "sentinels", struct {
		Servers   []string `json:"servers,omitempty"`
		OutOfSync bool     `json:"out_of_sync"`
	}{servers, false}, nil)
}

func (p *proxy) stats(ctx context.Context) (Stats, error) {
	var st Stats
	err := p.guarded(ctx, http.MethodGet, "stats", nil, &st)
	return st, err
}

// guarded calls what needs the password.
func (p *proxy) guarded(ctx context.Context, method, name string, body, reply any) error {
	return p.call(ctx, method, "/api/proxy/"+name+"/"+p.xauth, body, reply)
}

// call sends one request; reply may be nil.
func (p *proxy) call(ctx context.Context, method, path string, body, reply any) error {
	var sent []byte
	if body != nil {
		var err error
		if sent, err = json.MarshalIndent(body, "", "    "); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.admin+path, bytes.NewReader(sent))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	rsp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = rsp.Body.Close() }()
	answer, err := io.ReadAll(rsp.Body)
	switch {
	case err != nil:
		return err
	case rsp.StatusCode == statusError || rsp.StatusCode == statusErrorPika:
		e := new(RemoteError)
		if err := json.Unmarshal(answer, e); err != nil {
			return fmt.Errorf("%s: error of the proxy is not readable: %w", path, err)
		}
		return e
	case rsp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: status %d", path, rsp.StatusCode)
	case reply == nil:
		return nil
	}
	return json.Unmarshal(answer, reply)
}

func xauth(product, auth, token string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "Codis-XAuth-[%s]-[%s]-[%s]", product, auth, token))
	return hex.EncodeToString(sum[:16])
}
