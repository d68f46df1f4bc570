package consul

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// ClientConfig says where Consul is and how to talk to it. What is empty comes from the environment (CONSUL_HTTP_ADDR and
// its relatives, as for the consul command), and from Consul's defaults after that.
type ClientConfig struct {
	Address    string // host:port, https://host:port/prefix or unix:///path
	Scheme     string // "http" or "https"
	Token      string
	TokenFile  string // read again whenever it changes; wins over Token
	Datacenter string
	Namespace  string // Consul Enterprise
	Partition  string // Consul Enterprise

	CAFile, CertFile, KeyFile string
	ServerName                string // for the certificate, when it is not the host of Address
	SkipVerify                bool   // accept any certificate

	// DialTimeout bounds connecting and the TLS handshake. Default 5 s.
	DialTimeout time.Duration
}

// idleTime is how long a connection that nobody uses is kept: longer than the pauses of a busy client, short enough that a
// client that was replaced leaves nothing behind.
const idleTime = 30 * time.Second

// NewClient returns a client of Consul. It opens no connection; files that it needs must be there.
//
// There is no timeout for a whole request, because a blocking query may take minutes: who asks gives a context with a
// deadline, see ask.
func NewClient(cfg ClientConfig) (*api.Client, error) {
	c := api.DefaultConfig()
	c.Address = cmp.Or(cfg.Address, c.Address)
	c.Scheme = cmp.Or(cfg.Scheme, c.Scheme)
	c.Datacenter = cmp.Or(cfg.Datacenter, c.Datacenter)
	c.Namespace = cmp.Or(cfg.Namespace, c.Namespace)
	c.Partition = cmp.Or(cfg.Partition, c.Partition)
	c.TLSConfig.CAFile = cmp.Or(cfg.CAFile, c.TLSConfig.CAFile)
	c.TLSConfig.CertFile = cmp.Or(cfg.CertFile, c.TLSConfig.CertFile)
	c.TLSConfig.KeyFile = cmp.Or(cfg.KeyFile, c.TLSConfig.KeyFile)
	c.TLSConfig.Address = cmp.Or(cfg.ServerName, c.TLSConfig.Address)
	c.TLSConfig.InsecureSkipVerify = cfg.SkipVerify || c.TLSConfig.InsecureSkipVerify
	tokenFile := cmp.Or(cfg.TokenFile, c.TokenFile)
	if cfg.Token != "" {
		c.Token, tokenFile = cfg.Token, cfg.TokenFile // The environment does not win over what is configured.
	}

	dialer := &net.Dialer{Timeout: cmp.Or(cfg.DialTimeout, 5*time.Second), KeepAlive: 15 * time.Second}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: dialer.Timeout,
		MaxIdleConnsPerHost: 4, IdleConnTimeout: idleTime, ExpectContinueTimeout: time.Second,
	}
	if path, ok := strings.CutPrefix(c.Address, "unix://"); ok {
		// api.NewClient would replace HttpClient for such an address.
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
		c.Address, c.Scheme = "localhost", "http"
	}
	tlsConfig, err := api.SetupTLSConfig(&c.TLSConfig)
	if err != nil {
		return nil, fmt.Errorf("TLS files for Consul: %w", err)
	}
	tlsConfig.MinVersion = tls.VersionTLS12
	if c.TLSConfig.CertFile != "" {
		// Certificates of short life are replaced in place, like tokens.
		cert, key := c.TLSConfig.CertFile, c.TLSConfig.KeyFile
		tlsConfig.Certificates = nil
		tlsConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			return &pair, err
		}
	}
	transport.TLSClientConfig = tlsConfig
	c.Transport = transport
	c.HttpClient = &http.Client{Transport: transport}
	if c.TokenFile = ""; tokenFile != "" {
		t := &tokenTransport{next: transport, path: tokenFile}
		if c.Token, err = t.read(); err != nil {
			return nil, err
		}
		c.HttpClient.Transport = t
	}
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("client of Consul: %w", err)
	}
	return client, nil
}

// tokenTransport gives every request the token that is in a file now. Safe for concurrent use; mu guards the fields below
// it.
type tokenTransport struct {
	next *http.Transport
	path string

	mu    sync.Mutex
	info  os.FileInfo // of the file when it was read
	token string
}

// RoundTrip implements http.RoundTripper.
func (t *tokenTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := t.read()
	if err != nil && token == "" {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set("X-Consul-Token", token)
	return t.next.RoundTrip(req)
}

// CloseIdleConnections is what http.Client.CloseIdleConnections looks for.
func (t *tokenTransport) CloseIdleConnections() { t.next.CloseIdleConnections() }

// read returns the token. While the file can't be read, as in the middle of its replacement, the last one counts, and is
// returned with the error.
func (t *tokenTransport) read() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if err != nil {
		return t.token, fmt.Errorf("token of Consul: %w", err)
	}
	if t.info != nil && os.SameFile(info, t.info) && info.ModTime().Equal(t.info.ModTime()) && info.Size() == t.info.Size() {
		return t.token, nil
	}
	data, err := os.ReadFile(t.path)
	if err != nil {
		return t.token, fmt.Errorf("token of Consul: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return t.token, fmt.Errorf("token of Consul: file %s is empty", t.path)
	}
	t.info, t.token = info, token
	return token, nil
}

// hint says what to do about an error of Consul, "" when the error says it all.
func hint(err error) string {
	var status api.StatusError
	switch {
	case err == nil:
	case errors.As(err, &status) && status.Code == http.StatusForbidden:
		return "the token lacks a rule, see etc/consul/"
	case errors.As(err, &status) && status.Code == http.StatusTooManyRequests:
		return "raise limits.http_max_conns_per_client of the agent"
	case errors.Is(err, context.DeadlineExceeded):
		return "the agent accepts connections and does not answer"
	case strings.Contains(err.Error(), "No cluster leader"):
		return "the servers have no quorum"
	}
	return ""
}

// explain wraps an error of Consul with what was asked and what to do.
func explain(what string, err error) error {
	if h := hint(err); h != "" {
		return fmt.Errorf("consul: %s: %w (%s)", what, err, h)
	}
	return fmt.Errorf("consul: %s: %w", what, err)
}
