package proxy

import (
	"bytes"
	"slices"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// tails are the streams of an XREAD that are read from their end on ("$"). What that is has to be the same when the
// command is sent once more, so it is asked for first.
type tails struct {
	keys  [][]byte
	ids   []int // positions of their "$"
	known bool
	left  int    // answers still to come
	head  []byte // how the answer at hand begins
}

// headSize has room for how the answer to XREVRANGE begins, up to the ID of an entry.
const headSize = 128

// find looks for streams with "$".
func (t *tails) find(args [][]byte) {
	for i := 1; i < len(args); i++ {
		if !command.IsWord(args[i], "streams") {
			continue
		}
		n := (len(args) - i - 1) / 2
		for k := range n {
			if id := i + 1 + n + k; string(args[id]) == "$" {
				t.keys = append(t.keys, args[i+1+k])
				t.ids = append(t.ids, id)
			}
		}
		return
	}
}

func (t *tails) open() bool { return len(t.keys) > 0 && !t.known }

// askTails asks for the last entry of each.
func (x *blocking) askTails(b *backend.Conn, ask bool) error {
	l, t := x.d.client.loop, &x.tails
	t.left = len(t.keys)
	for i, key := range t.keys {
		l.scratch = resp.AppendCommand(l.scratch[:0], "XREVRANGE", string(key), "+", "-", "COUNT", "1")
		send := b.Send
		if ask {
			send = b.SendAsking
		}
		if err := send(l.scratch, tailOwner{x, b}, uint32(i), l.now); err != nil {
			return err
		}
	}
	return nil
}

// tailOwner takes the answers.
type tailOwner struct {
	x    *blocking
	conn *backend.Conn
}

func (o tailOwner) Reply(tag uint32, r backend.Reply) {
	x, t := o.x, &o.x.tails
	if x.d.client.closed || x.conn != o.conn {
		return
	}
	if r.First && r.Data[0] == '-' {
		x.release(false)
		x.d.Reply(tagDirect, backend.Reply{Conn: r.Conn, Data: slices.Clone(r.Data), Request: x.d.raw, First: true, Last: true})
		return
	}
	if r.First {
		t.head = t.head[:0]
	}
	t.head = append(t.head, r.Data[:min(len(r.Data), headSize-len(t.head))]...)
	if !r.Last {
		return
	}
	x.args[t.ids[tag]] = lastEntry(t.head)
	if t.left--; t.left > 0 {
		return
	}
	t.known = true
	x.sendAgain()
}

func (o tailOwner) Fail(_ uint32, f backend.Failure) {
	f.Sent = false // Nothing of the XREAD itself was.
	o.x.Fail(0, f)
}

// lastEntry reads the ID of the only entry in what XREVRANGE answers: "*1\r\n*2\r\n$3\r\n1-1\r\n…".
func lastEntry(reply []byte) []byte {
	_, rest, ok := bytes.Cut(reply, []byte("\r\n*2\r\n$"))
	if !ok {
		return []byte("0-0")
	}
	_, rest, _ = bytes.Cut(rest, []byte("\r\n"))
	id, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return slices.Clone(id)
}

var _ backend.Owner = tailOwner{}
