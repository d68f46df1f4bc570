package local

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/proxy/resp"
)

// Description is all that CLIENT LIST tells of a client. It is made on the loop of the client.
type Description struct {
	Peer
	Identity
	Pool      string
	Proxy     string // id
	FD        int    // -1 when there is none
	Age, Idle time.Duration
	DB, Proto int // Proto is 2 or 3
	Command   string
	InFlight  int // requests

	Channels, Patterns, ShardChannels int // that it is subscribed to
	Multi                             int // commands since MULTI, -1 outside of a transaction

	Unparsed, UnparsedFree int // bytes that it has sent and nobody has looked at, and how many more have room
	Output                 int // bytes of replies of this turn
	Unsent                 int // bytes of replies that it has not read
	Held                   int // bytes of replies that wait for older ones
	Memory                 int // bytes of its buffers

	Monitor, Blocked, Closing bool
}

// Line is the line of CLIENT LIST: the fields of Redis, 0 where they mean nothing here, then our own.
func (d *Description) Line() string {
	events := "r"
	if d.Unsent > 0 {
		events = "rw"
	}
	waiting := d.Unsent + d.Held
	var b strings.Builder
	fmt.Fprintf(&b, "id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=%d ssub=%d multi=%d",
		d.ID, d.Addr, d.LocalAddr, d.FD, d.Name, int(d.Age.Seconds()), d.Idle/time.Second, d.flags(), d.DB,
		d.Channels, d.Patterns, d.ShardChannels, d.Multi)
	fmt.Fprintf(&b, " qbuf=%d qbuf-free=%d argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=%d oll=0 omem=%d tot-mem=%d events=%s",
		d.Unparsed, d.UnparsedFree, d.Output, waiting, d.Memory+waiting, events)
	fmt.Fprintf(&b, " cmd=%s user=%s redir=%d resp=%d lib-name=%s lib-ver=%s pool=%s inflight=%d proxy=%s\n",
		d.Command, d.User, d.redirect(), d.Proto, d.LibName, d.LibVer, d.Pool, d.InFlight, d.Proxy)
	return b.String()
}

// flags are Redis' letters for what a client is.
func (d *Description) flags() string {
	flags := ""
	for _, f := range []struct {
		on     bool
		letter string
	}{
		{d.Monitor, "O"},
		{d.Type == TypePubSub, "P"},
		{d.Multi >= 0, "x"},
		{d.Blocked, "b"},
		{d.OptIn, "t"},
		{d.Closing, "c"},
		{strings.HasPrefix(d.LocalAddr, "/"), "U"},
		{d.NoEvict, "e"},
		{d.NoTouch, "T"},
	} {
		if f.on {
			flags += f.letter
		}
	}
	return cmp.Or(flags, "N")
}

// AppendClients answers CLIENT LIST. It sorts list. Anybody may call it; with many clients it takes a while.
func AppendClients(dst []byte, list []Description, resp3 bool) []byte {
	slices.SortFunc(list, func(a, b Description) int { return cmp.Compare(a.ID, b.ID) })
	var text strings.Builder
	for i := range list {
		text.WriteString(list[i].Line())
	}
	return resp.AppendVerbatim(dst, text.String(), resp3)
}
