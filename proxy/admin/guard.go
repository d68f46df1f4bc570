package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// The admin server asks for no password, so who can reach it may use it. That must not include the pages of other sites in the
// browser of somebody who can. Such a page may send requests, and if the name of its site is made to lead here
// (DNS rebinding) read the answers as well. Two things tell these requests from others:
//
//   - The Host is the name of that site. An address proves that no name was followed; a name has to be one of ours.
//   - What changes something says where it comes from, in Sec-Fetch-Site or Origin.
//
// Health checks and metrics are let pass under any name: they are asked by machines that call this one whatever they like, and
// hold neither keys nor values of anybody.

// openPaths are answered under any Host.
var openPaths = []string{"/metrics", "/-/healthy", "/-/ready"}

// guard wraps h so that requests that a page of another site may have made are refused.
func (s *Server) guard(h http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(openPaths, r.URL.Path) && !s.isOurs(r.Host) {
			http.Error(w, fmt.Sprintf("%q is not a name of this server: use its address, or add the name to admin_hosts of [proxy]; "+
				"a page of another site may have made its own name lead here", hostOf(r.Host)), http.StatusForbidden)
			return
		}
		if err := origins.Check(r); err != nil {
			http.Error(w, fmt.Sprintf("this was sent by a page of another site (%v); send it from this server's own page, or without a browser", err), http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// SetHosts replaces the names under which the server may be asked, besides addresses and localhost. Safe for concurrent use.
func (s *Server) SetHosts(names []string) {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = hostOf(name)
	}
	s.hosts.Store(&list)
}

// Hosts are the names of SetHosts.
func (s *Server) Hosts() []string { return *s.hosts.Load() }

// isOurs reports whether the Host of a request is no name, or one of ours. A request without one comes from no browser.
func (s *Server) isOurs(host string) bool {
	name := hostOf(host)
	_, err := netip.ParseAddr(name)
	return name == "" || err == nil || name == "localhost" || slices.Contains(s.Hosts(), name)
}

// hostOf is the name or address in "Name.:port", in the form that compares.
func hostOf(host string) string {
	if h, port, err := net.SplitHostPort(host); err == nil && strings.Trim(port, "0123456789") == "" {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}
