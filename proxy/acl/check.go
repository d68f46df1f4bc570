package acl

import (
	"bytes"
	"errors"

	"sluice/proxy/command"
)

// Denial is why a request is not allowed. The zero value says that it is.
type Denial struct {
	kind denialKind
	cmd  *command.Command
	at   int // position of the key or channel
}

type denialKind uint8

const (
	allowed denialKind = iota
	deniedCommand
	deniedKey
	deniedChannel
	deniedSortBy
	deniedSortGet
)

// Denied reports whether the request is not allowed.
func (d Denial) Denied() bool { return d.kind != allowed }

// OfCommand reports whether the command itself is not allowed, whatever it is used on.
func (d Denial) OfCommand() bool { return d.kind == deniedCommand }

// Text is the error reply without the leading '-', in the words of Redis 7.0.
func (d Denial) Text() string {
	switch d.kind {
	case allowed:
		return ""
	case deniedCommand:
		return "NOPERM this user has no permissions to run the '" + d.cmd.Name + "' command"
	case deniedKey:
		return "NOPERM this user has no permissions to access one of the keys used as arguments"
	case deniedChannel:
		return "NOPERM this user has no permissions to access one of the channels used as arguments"
	case deniedSortBy:
		return "ERR BY option of SORT denied due to insufficient ACL permissions."
	case deniedSortGet:
		return "ERR GET option of SORT denied due to insufficient ACL permissions."
	}
	panic("BUG: acl: a denial of no kind")
}

// DryRun is what ACL DRYRUN says about it, in the words of Redis 7.0.
func (d Denial) DryRun(args [][]byte) string {
	switch d.kind {
	case allowed:
		return "OK"
	case deniedCommand:
		return "This user has no permissions to run the '" + d.cmd.Name + "' command"
	case deniedKey:
		return "This user has no permissions to access the '" + string(args[d.at]) + "' key"
	case deniedChannel:
		return "This user has no permissions to access the '" + string(args[d.at]) + "' channel"
	case deniedSortBy, deniedSortGet:
		return "OK" // SORT refuses itself, once it runs.
	}
	panic("BUG: acl: a denial of no kind")
}

// fewKeys is how many keys of a request are looked at without an allocation.
const fewKeys = 16

// Check judges a whole request, in the order of Redis: the command, its keys, its
// channels. args are only read during the call.
func (r *Rules) Check(cmd *command.Command, args [][]byte) Denial {
	if r == nil {
		return Denial{}
	}
	if !r.MayRun(cmd) {
		return Denial{kind: deniedCommand, cmd: cmd}
	}
	if d := r.checkKeys(cmd, args); d.Denied() {
		return d
	}
	return r.checkChannels(cmd, args)
}

func (r *Rules) checkKeys(cmd *command.Command, args [][]byte) Denial {
	if r.allKeys || len(cmd.Keys) == 0 {
		return Denial{}
	}
	var few [fewKeys]command.KeyRef
	keys, err := cmd.AppendKeyRefs(few[:0], args)
	switch {
	case errors.Is(err, command.ErrNoKeys):
		return Denial{} // Its key specs are of shard channels.
	case err != nil:
		// Redis lets it pass, for the command itself then refuses it. But what is not found here may be found there.
		return Denial{kind: deniedKey, cmd: cmd}
	}
	for _, k := range keys {
		if !r.MayAccess(args[k.At], k.Flags) {
			return Denial{kind: deniedKey, cmd: cmd, at: k.At}
		}
	}
	if cmd.Name == "sort" || cmd.Name == "sort_ro" {
		return r.checkSort(cmd, args)
	}
	return Denial{}
}

func (r *Rules) checkChannels(cmd *command.Command, args [][]byte) Denial {
	if r.allChannels || !cmd.Is(command.PubSub) {
		return Denial{}
	}
	var few [fewKeys]int
	channels, patterns := cmd.AppendChannels(few[:0], args)
	for _, at := range channels {
		if !r.MayUse(args[at], patterns) {
			return Denial{kind: deniedChannel, cmd: cmd, at: at}
		}
	}
	return Denial{}
}

// checkSort looks for BY and GET, which read keys that no argument names. Redis steps
// over the options as this does (redis 7.0, src/sort.c sortCommandGeneric).
func (r *Rules) checkSort(cmd *command.Command, args [][]byte) Denial {
	if r.MayReadEverything() {
		return Denial{}
	}
	for i := 2; i < len(args); i++ {
		left := len(args) - i - 1
		switch {
		case command.IsOption(args[i], "limit") && left >= 2:
			i += 2
		case command.IsOption(args[i], "store") && left >= 1 && cmd.Name == "sort":
			i++
		case command.IsOption(args[i], "by") && left >= 1:
			if hasStar(args[i+1]) {
				return Denial{kind: deniedSortBy, cmd: cmd, at: i + 1}
			}
			i++
		case command.IsOption(args[i], "get") && left >= 1:
			return Denial{kind: deniedSortGet, cmd: cmd, at: i + 1}
		}
	}
	return Denial{}
}

// hasStar reports whether Redis finds a star in arg, which it reads up to a NUL.
func hasStar(arg []byte) bool {
	text, _, _ := bytes.Cut(arg, []byte{0})
	return bytes.IndexByte(text, '*') >= 0
}
