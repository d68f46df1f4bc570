package local

import (
	"fmt"
	"slices"
	"strings"

	"sluice/proxy/merge"
	"sluice/proxy/resp"
)

// section is one of INFO.
type section struct {
	name    string
	special bool // shown only when it is named, or with "all"
	share   share
}

// share says what of a section comes from the masters.
type share uint8

const (
	own    share = iota // nothing
	behind              // fields that Sluice does not have itself
	whole               // everything; what Sluice has itself stands in only if no master has answered
)

// sections are Redis' sections in Redis' order, then our own.
var sections = []section{
	{name: "Server", share: behind},
	{name: "Clients", share: behind},
	{name: "Memory", share: whole},
	{name: "Persistence", share: whole},
	{name: "Stats", share: behind},
	{name: "Replication"},
	{name: "CPU", share: whole},
	{name: "Modules", share: whole},
	{name: "Commandstats", special: true},
	{name: "Errorstats", share: whole},
	{name: "Latencystats", special: true, share: whole},
	{name: "Cluster"},
	{name: "Keyspace", share: whole},
	{name: "Proxy"},
	{name: "Backends"},
}

// notForPools are fields of servers that say nothing about a pool.
var notForPools = []string{"executable", "config_file", "listener", "availability_zone"}

// InfoRequest is what an INFO asks for: sections in the order in which they are shown.
type InfoRequest []section

// WantedInfo reads the arguments of INFO, without its name.
func WantedInfo(names [][]byte) InfoRequest {
	var wanted InfoRequest
	for _, s := range sections {
		if len(names) == 0 && !s.special || slices.ContainsFunc(names, func(n []byte) bool { return s.named(string(n)) }) {
			wanted = append(wanted, s)
		}
	}
	return wanted
}

func (s section) named(name string) bool {
	name = strings.ToLower(name)
	return name == strings.ToLower(s.name) || name == "all" || name == "everything" || name == "default" && !s.special
}

// OfServers reports whether the masters have to be asked.
func (r InfoRequest) OfServers() bool {
	return slices.ContainsFunc(r, func(s section) bool { return s.share != own })
}

// Append answers INFO with what Sluice has itself, which write adds as lines, and with what the masters have together.
// To be called on no loop: with many masters it takes a while.
func (r InfoRequest) Append(dst []byte, write func(b *strings.Builder, section string), servers merge.Sections,
	resp3 bool) []byte {
	var b strings.Builder
	for _, s := range r {
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "# %s\r\n", s.name)
		theirs := servers[strings.ToLower(s.name)]
		if s.share == own {
			theirs = nil
		}
		start := b.Len()
		if s.share != whole || theirs == nil {
			write(&b, s.name)
		}
		ours := "\n" + b.String()[start:]
		theirs.Write(&b, func(name string) bool {
			return strings.Contains(ours, "\n"+name+":") ||
				slices.ContainsFunc(notForPools, func(p string) bool { return strings.HasPrefix(name, p) })
		})
	}
	return resp.AppendVerbatim(dst, b.String(), resp3)
}
