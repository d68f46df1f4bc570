package local

import (
	"bytes"
	"fmt"
	"strings"

	"sluice/proxy/resp"
)

// The CLIENT family, as far as it concerns the connection to Sluice itself. Nothing of it reaches a server: backend
// connections are shared.

// Identity is what a client has said of itself. Owned by its event loop.
type Identity struct {
	Name    string // CLIENT SETNAME
	LibName string // CLIENT SETINFO
	LibVer  string
	NoEvict bool
	NoTouch bool
	OptIn   bool // CLIENT TRACKING ON OPTIN
}

// ValidName reports whether a client name or library name has only printable characters and no blank, as Redis asks
// for so that CLIENT LIST stays readable.
func ValidName(name []byte) bool {
	for _, b := range name {
		if b < '!' || b > '~' {
			return false
		}
	}
	return true
}

func clientSetName(dst []byte, c Client, args [][]byte) []byte {
	if !ValidName(args[2]) {
		return resp.AppendError(dst, ErrClientName)
	}
	c.Identity().Name = string(args[2])
	return appendOK(dst)
}

func clientGetName(dst []byte, c Client, _ [][]byte) []byte {
	if name := c.Identity().Name; name != "" {
		return resp.AppendBulk(dst, name)
	}
	return resp.AppendNull(dst, c.RESP3())
}

func clientSetInfo(dst []byte, c Client, args [][]byte) []byte {
	attribute := strings.ToLower(string(args[2]))
	if refusal, known := c.Wish(attribute, strings.ToLower(string(args[3]))); known && refusal != "" {
		return resp.AppendError(dst, refusal)
	} else if known {
		return appendOK(dst)
	}
	if attribute != "lib-name" && attribute != "lib-ver" {
		return resp.AppendError(dst, fmt.Sprintf("ERR Unrecognized option '%s'", args[2]))
	}
	if !ValidName(args[3]) {
		return resp.AppendError(dst, "ERR "+attribute+" cannot contain spaces, newlines or special characters.")
	}
	if attribute == "lib-name" {
		c.Identity().LibName = string(args[3])
	} else {
		c.Identity().LibVer = string(args[3])
	}
	return appendOK(dst)
}

func clientID(dst []byte, c Client, _ [][]byte) []byte { return resp.AppendInt(dst, c.Peer().ID) }

func clientInfo(dst []byte, c Client, _ [][]byte) []byte {
	d := c.Describe()
	return resp.AppendVerbatim(dst, d.Line(), c.RESP3())
}

// toggle makes the command that switches one flag.
func toggle(flag func(of *Identity) *bool) Command {
	return func(dst []byte, c Client, args [][]byte) []byte {
		on := bytes.EqualFold(args[2], []byte("on"))
		if !on && !bytes.EqualFold(args[2], []byte("off")) {
			return resp.AppendError(dst, ErrSyntax)
		}
		*flag(c.Identity()) = on
		return appendOK(dst)
	}
}

// clientTracking accepts what costs nothing to keep: OFF, and ON OPTIN, which promises invalidations only for reads
// announced with CLIENT CACHING YES. Those are refused, so no client ever waits for an invalidation that won't come;
// and clients that ask for OPTIN when they connect (rueidis) connect.
func clientTracking(dst []byte, c Client, args [][]byte) []byte {
	off := len(args) == 3 && bytes.EqualFold(args[2], []byte("off"))
	optIn := len(args) == 4 && bytes.EqualFold(args[2], []byte("on")) && bytes.EqualFold(args[3], []byte("optin"))
	if off || optIn && c.RESP3() {
		c.Identity().OptIn = optIn
		return appendOK(dst)
	}
	return resp.AppendError(dst, "ERR client-side caching is not supported through Sluice: CLIENT TRACKING takes only "+
		"OFF and, in RESP3, ON OPTIN")
}

// redirect is where invalidations go: -1 while tracking is off, 0 to the client itself.
func (i *Identity) redirect() int {
	if i.OptIn {
		return 0
	}
	return -1
}

// clientTrackingInfo says what clientTracking has accepted.
func clientTrackingInfo(dst []byte, c Client, _ [][]byte) []byte {
	flags := []string{"off"}
	if c.Identity().OptIn {
		flags = []string{"on", "optin"}
	}
	dst = resp.AppendMap(dst, 3, c.RESP3())
	dst = resp.AppendSet(resp.AppendBulk(dst, "flags"), len(flags), c.RESP3())
	for _, f := range flags {
		dst = resp.AppendBulk(dst, f)
	}
	dst = resp.AppendInt(resp.AppendBulk(dst, "redirect"), int64(c.Identity().redirect()))
	return resp.AppendArray(resp.AppendBulk(dst, "prefixes"), 0)
}

func clientGetRedir(dst []byte, c Client, _ [][]byte) []byte {
	return resp.AppendInt(dst, int64(c.Identity().redirect()))
}
