package consul

import (
	"errors"
	"net/http"
	"testing"

	"github.com/hashicorp/consul/api"
)

// before calls a function before each transaction.
type before struct {
	http.RoundTripper
	do func()
}

// RoundTrip implements http.RoundTripper.
func (b before) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/v1/txn" {
		b.do()
	}
	return b.RoundTripper.RoundTrip(req)
}

// What has changed between the look and the deletion is found by the second.
func TestForgetLeavesAProxyThatComesBack(t *testing.T) {
	server := sharedConsul(t)
	p := newPool(t, server)
	put := func(key, value string) {
		t.Helper()
		if _, err := p.client.KV().Put(&api.KVPair{Key: p.root() + key, Value: []byte(value)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	forget := func(meanwhile func()) error {
		t.Helper()
		client, err := api.NewClient(&api.Config{Address: server.Addr(), HttpClient: &http.Client{Transport: before{transport, meanwhile}}})
		if err != nil {
			t.Fatal(err)
		}
		return Forget(t.Context(), client.KV(), p.root(), "a")
	}
	for _, key := range []string{"members/a", "proxies/a", "acks/a"} {
		put("members/a", "1")
		if err := forget(func() { put(key, "2") }); !errors.Is(err, ErrConflict) {
			t.Errorf("%s was written meanwhile: %v", key, err)
		}
		if pair, _, err := p.client.KV().Get(p.root()+"members/a", nil); err != nil || pair == nil {
			t.Errorf("%s was written meanwhile: the member is gone, %v", key, err)
		}
		if err := forget(func() {}); err != nil {
			t.Error(err)
		}
		if pairs, _, err := p.client.KV().List(p.root(), nil); err != nil || len(pairs) > 0 {
			t.Errorf("left are %v, %v", pairs, err)
		}
	}
}
