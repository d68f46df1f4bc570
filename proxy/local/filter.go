package local

import (
	"fmt"
	"slices"
	"strings"

	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// Filter chooses clients for CLIENT LIST and CLIENT KILL. The zero value chooses all.
type Filter struct {
	ids             []int64 // nil for all
	kind            string  // "" for all
	addr, localAddr *string
	user            *string
	not             int64 // an id; 0 for nobody
	old             bool  // CLIENT KILL with an address alone
}

// Takes reports whether a client is chosen.
func (f *Filter) Takes(p Peer) bool {
	return (f.ids == nil || slices.Contains(f.ids, p.ID)) && (f.kind == "" || f.kind == p.Type) &&
		(f.addr == nil || *f.addr == p.Addr) && (f.localAddr == nil || *f.localAddr == p.LocalAddr) &&
		(f.user == nil || p.Known && *f.user == p.User) && f.not != p.ID
}

// clientType reads the type of a client. What Redis knows and Sluice never has is valid and chooses nobody.
func clientType(arg []byte) (kind, refusal string) {
	kind = strings.ToLower(string(arg))
	switch kind {
	case TypeNormal, TypePubSub, "master", "replica":
		return kind, ""
	case "slave":
		return "replica", ""
	}
	return "", fmt.Sprintf("ERR Unknown client type '%s'", arg)
}

// ListFilter is what a CLIENT LIST chooses.
func ListFilter(args [][]byte) (f Filter, refusal string) {
	switch {
	case len(args) == 2:
	case len(args) == 4 && command.IsWord(args[2], "type"):
		f.kind, refusal = clientType(args[3])
	case len(args) > 3 && command.IsWord(args[2], "id"):
		for _, arg := range args[3:] {
			id, ok := command.Integer(arg)
			if !ok {
				return f, "ERR Invalid client ID"
			}
			f.ids = append(f.ids, id)
		}
	default:
		refusal = ErrSyntax
	}
	return f, refusal
}

// KillFilter is what a CLIENT KILL of c chooses: of the old form, with an address alone, all that come from there; of
// the new one those that all options choose.
func KillFilter(c Client, args [][]byte) (f Filter, refusal string) {
	if len(args) == 3 {
		addr := string(args[2])
		return Filter{addr: &addr, old: true}, ""
	}
	self := c.Peer().ID
	f.not = self
	for i := 2; i < len(args); i += 2 {
		if i+1 == len(args) {
			return f, ErrSyntax
		}
		value := string(args[i+1])
		switch {
		case command.IsWord(args[i], "id"):
			id, ok := command.Integer(args[i+1])
			if !ok || id < 1 {
				return f, "ERR client-id should be greater than 0"
			}
			f.ids = []int64{id}
		case command.IsWord(args[i], "type"):
			if f.kind, refusal = clientType(args[i+1]); refusal != "" {
				return f, refusal
			}
		case command.IsWord(args[i], "addr"):
			f.addr = &value
		case command.IsWord(args[i], "laddr"):
			f.localAddr = &value
		case command.IsWord(args[i], "user"):
			if userNamed(c.Pool(), args[i+1]) == nil {
				return f, fmt.Sprintf("ERR No such user '%s'", value)
			}
			f.user = &value
		case command.IsWord(args[i], "skipme") && command.IsWord(args[i+1], "yes"):
			f.not = self
		case command.IsWord(args[i], "skipme") && command.IsWord(args[i+1], "no"):
			f.not = 0
		default:
			return f, ErrSyntax
		}
	}
	return f, ""
}

// AppendKilled answers a CLIENT KILL that has closed so many clients.
func (f *Filter) AppendKilled(dst []byte, killed int64) []byte {
	switch {
	case !f.old:
		return resp.AppendInt(dst, killed)
	case killed == 0:
		return resp.AppendError(dst, "ERR No such client")
	}
	return appendOK(dst)
}
