package codis

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"
)

// Model is how a proxy introduces itself to the dashboard (Codis 3.2, pkg/models/proxy.go).
type Model struct {
	ID          int    `json:"id,omitempty"`
	Token       string `json:"token"`
	StartTime   string `json:"start_time"`
	AdminAddr   string `json:"admin_addr"`
	ProtoType   string `json:"proto_type"`
	ProxyAddr   string `json:"proxy_addr"`
	ProductName string `json:"product_name"`
	PID         int    `json:"pid"`
	PWD         string `json:"pwd"`
	Sys         string `json:"sys"`
	Hostname    string `json:"hostname"`
	DataCenter  string `json:"datacenter"`
	MaxSlotNum  int    `json:"max_slot_num,omitempty"` // Pika's fork of the dashboard
}

// newModel describes this process. admin is where the dashboard reaches it.
func newModel(cfg *Config, admin string) Model {
	host, _ := os.Hostname()
	pwd, _ := os.Getwd()
	parts := []string{cfg.Product, cfg.ProxyAddr, admin}
	if isWildcard(admin) { // The same on every host.
		parts = append(parts, host)
	}
	return Model{
		Token:     token(parts...),
		StartTime: time.Now().Format("2006-01-02 15:04:05.999999999 -0700 MST"),
		AdminAddr: admin, ProtoType: "tcp", ProxyAddr: cfg.ProxyAddr, ProductName: cfg.Product,
		PID: os.Getpid(), PWD: pwd, Sys: runtime.GOOS + "/" + runtime.GOARCH, Hostname: host, MaxSlotNum: cfg.Slots,
	}
}

// seenAt puts the host by which the dashboard has reached us, its request's, in place of one that means every
// address of this machine: the dashboard calls again where the model says.
func (m Model) seenAt(host string) Model {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	for _, addr := range []*string{&m.AdminAddr, &m.ProxyAddr} {
		if _, port, err := net.SplitHostPort(*addr); err == nil && host != "" && isWildcard(*addr) {
			*addr = net.JoinHostPort(host, port)
		}
	}
	return m
}

// isWildcard reports whether addr means every address of this machine.
func isWildcard(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// token names a proxy to the dashboard. It is the same after a restart, so that the dashboard knows the proxy again and
// puts it online by itself.
func token(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// XAuth is what a caller of the admin API proves with that it knows the product's password (Codis 3.2,
// pkg/utils/rpc/crypto.go): the first 16 bytes, in hex, of SHA-256("Codis-XAuth-[product]-[auth]-[token]").
func XAuth(product, auth, token string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "Codis-XAuth-[%s]-[%s]-[%s]", product, auth, token))
	return hex.EncodeToString(sum[:16])
}
