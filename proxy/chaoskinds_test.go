package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sluice/proxy/resp"
	"sluice/proxy/script"
)

// The clients of the chaos. Each function is the life of one connection, on keys that nobody else uses: what a
// connection has left in doubt may still be run when it has gone, so the next one has other keys.

var chaosLives atomic.Int64

// mayhemConn is a connection that writes and reads fast, and knows when it is over.
type mayhemConn struct {
	m    *mayhem
	conn net.Conn
	r    *bufio.Reader
	out  []byte
	life string
	gone error
	buf  []byte // of the last reply

	asked []byte // the beginning of what was sent last
}

func (m *mayhem) dial() *mayhemConn {
	conn, err := net.Dial("tcp", m.p.addr)
	if err != nil {
		m.mistake("dial: %v", err)
		return nil
	}
	return &mayhemConn{m: m, conn: conn, r: bufio.NewReaderSize(conn, 64<<10), life: strconv.FormatInt(chaosLives.Add(1), 36)}
}

func (c *mayhemConn) close() { _ = c.conn.Close() }

// chaosPatience is longer than any reply may take, held, retried and behind stalled loops.
const chaosPatience = 60 * time.Second

// flush sends what was gathered.
func (c *mayhemConn) flush() {
	if c.gone == nil {
		_ = c.conn.SetDeadline(time.Now().Add(chaosPatience))
		_, c.gone = c.conn.Write(c.out)
		c.asked = append(c.asked[:0], c.out[:min(len(c.out), 1000)]...)
	}
	c.out = c.out[:0]
}

func (c *mayhemConn) ask(args ...string) { c.out = resp.AppendCommand(c.out, args...) }

// reply reads one reply, whole. It is nil when the connection has gone; valid until the next call.
func (c *mayhemConn) reply() []byte {
	if c.gone != nil {
		return nil
	}
	c.buf = c.buf[:0]
	if c.gone = c.read(); c.gone != nil {
		if errors.Is(c.gone, errChaosFormat) || isTimeout(c.gone) {
			c.m.mistake("life %s: no reply: %v, got %q; asked %q; %s", c.life, c.gone, c.buf, c.asked, c.m.describe(c.conn.LocalAddr().String()))
		}
		c.m.lost.Add(1)
		return nil
	}
	c.m.replies.Add(1)
	return c.buf
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

var errChaosFormat = errors.New("no RESP")

// read reads a reply of RESP2 into buf.
func (c *mayhemConn) read() error {
	line, err := c.r.ReadSlice('\n')
	c.buf = append(c.buf, line...)
	if err != nil {
		return err
	}
	switch line[0] {
	case '+', '-', ':':
		return nil
	case '$', '*':
	default:
		return errChaosFormat
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(line[1:])))
	if err != nil || n > 1<<20 {
		return errChaosFormat
	}
	if line[0] == '*' {
		for range max(n, 0) {
			if err := c.read(); err != nil {
				return err
			}
		}
		return nil
	}
	if n < 0 {
		return nil
	}
	at := len(c.buf)
	c.buf = append(c.buf, make([]byte, n+2)...)
	_, err = io.ReadFull(c.r, c.buf[at:])
	return err
}

// mayhemOutcome of a request.
type mayhemOutcome int

const (
	mayhemDone    mayhemOutcome = iota
	mayhemUnknown               // it may have run
	mayhemNotRun
)

// outcome reads an error reply, or that there is none.
func (c *mayhemConn) outcome(reply []byte) mayhemOutcome {
	switch {
	case reply == nil, bytes.HasPrefix(reply, []byte("-ERR outcome unknown")):
		c.m.unknown.Add(1)
		return mayhemUnknown
	case reply[0] != '-':
		return mayhemDone
	case bytes.HasPrefix(reply, []byte("-TRYAGAIN ")), bytes.HasPrefix(reply, []byte("-ERR backend ")),
		bytes.HasPrefix(reply, []byte("-ERR timeout: ")), bytes.HasPrefix(reply, []byte("-ERR connection to backend ")),
		bytes.HasPrefix(reply, []byte("-NOSCRIPT ")), bytes.HasPrefix(reply, []byte("-EXECABORT ")):
		c.m.refused.Add(1)
		return mayhemNotRun
	}
	c.m.mistake("life %s: %q", c.life, reply)
	return mayhemNotRun
}

// expect reads a reply that is this one if it is no error.
func (c *mayhemConn) expect(want string) mayhemOutcome {
	reply := c.reply()
	o := c.outcome(reply)
	if o == mayhemDone && string(reply) != want {
		c.m.mistake("life %s: the reply of another request, %q instead of %q; asked %q", c.life, reply, want, c.asked)
	}
	return o
}

// register is what a connection knows of a key that it sets to growing numbers.
type register struct {
	name   string
	next   int
	acked  int          // the last number that was acknowledged
	doubts map[int]bool // later ones that may be there
}

// set is told the outcome of a SET of n.
func (k *register) set(n int, o mayhemOutcome) {
	switch o {
	case mayhemDone:
		k.acked = n
		for d := range k.doubts {
			if d < n {
				delete(k.doubts, d) // It must not come back.
			}
		}
	case mayhemUnknown:
		if k.doubts == nil {
			k.doubts = make(map[int]bool)
		}
		k.doubts[n] = true
	case mayhemNotRun:
	}
}

// get is told what a GET has found. A number in doubt that is seen is there to stay.
func (k *register) get(c *mayhemConn, reply []byte) {
	if c.outcome(reply) != mayhemDone {
		return
	}
	if string(reply) == "$-1\r\n" {
		if k.acked != 0 {
			c.m.mistake("key %s: nothing is there, %d was acknowledged", k.name, k.acked)
		}
		return
	}
	_, value, _ := bytes.Cut(reply, []byte("\r\n"))
	name, number, _ := strings.Cut(strings.TrimSpace(string(value)), "=")
	n, err := strconv.Atoi(number)
	switch {
	case err != nil || name != k.name:
		c.m.mistake("key %s: the reply of another request, %q", k.name, reply)
	case n == k.acked:
	case k.doubts[n]:
		k.set(n, mayhemDone)
	default:
		c.m.mistake("key %s: %d is there, %d was acknowledged; in doubt: %v", k.name, n, k.acked, k.doubts)
	}
}

func (k *register) value(n int) string { return k.name + "=" + strconv.Itoa(n) }

// counter is what a connection knows of a key that it increments.
type counter struct {
	name           string
	acked, unknown int
	last           int
}

func (k *counter) incremented(c *mayhemConn, reply []byte) {
	switch c.outcome(reply) {
	case mayhemDone:
	case mayhemUnknown:
		k.unknown++
		return
	case mayhemNotRun:
		return
	}
	k.acked++
	n, err := strconv.Atoi(strings.TrimSpace(string(reply[1:])))
	if err != nil || reply[0] != ':' || n <= k.last || n < k.acked || n > k.acked+k.unknown {
		c.m.mistake("counter %s: %q after %d; %d acknowledged, %d unknown", k.name, reply, k.last, k.acked, k.unknown)
	}
	k.last = n
}

// pipelineChaos pipelines GET, SET and INCR, the plain path.
func pipelineChaos(m *mayhem, _ int, rng *rand.Rand) {
	c := m.dial()
	if c == nil {
		return
	}
	defer c.close()
	const keys = 32
	registers, counters := make([]register, keys), make([]counter, keys)
	gets, sets, incrs := make([][]byte, keys), make([][]byte, keys), make([][]byte, keys)
	for i := range keys {
		registers[i].name, counters[i].name = fmt.Sprint(c.life, ":", i), fmt.Sprint(c.life, ":n", i)
		gets[i] = resp.AppendCommand(nil, "GET", registers[i].name)
		sets[i] = resp.AppendBulk(resp.AppendBulk(resp.AppendArray(nil, 3), "SET"), registers[i].name)
		incrs[i] = resp.AppendCommand(nil, "INCR", counters[i].name)
	}
	type op struct{ kind, key, n int }
	var ops []op
	depth := 1 << rng.IntN(9)
	for range 1000 {
		if m.stop.Load() {
			return
		}
		ops = ops[:0]
		for range depth {
			o := op{kind: rng.IntN(8), key: rng.IntN(keys)}
			k := &registers[o.key]
			switch {
			case o.kind < 5:
				c.out = append(c.out, gets[o.key]...)
			case o.kind < 7:
				k.next++
				o.n = k.next
				c.out = resp.AppendBulk(append(c.out, sets[o.key]...), k.value(o.n))
			default:
				c.out = append(c.out, incrs[o.key]...)
			}
			ops = append(ops, o)
		}
		c.flush()
		for _, o := range ops {
			reply := c.reply()
			switch {
			case o.kind < 5:
				registers[o.key].get(c, reply)
			case o.kind < 7:
				if reply != nil && reply[0] != '-' && string(reply) != "+OK\r\n" {
					m.mistake("SET of %s: the reply of another request, %q", registers[o.key].name, reply)
				}
				registers[o.key].set(o.n, c.outcome(reply))
			default:
				counters[o.key].incremented(c, reply)
			}
		}
		if c.gone != nil {
			return
		}
	}
}

// sessionChaos changes versions and databases, watches and transacts, so that its requests use many connections.
func sessionChaos(m *mayhem, _ int, rng *rand.Rand) {
	c := m.dial()
	if c == nil {
		return
	}
	defer c.close()
	k, n := &register{name: "{" + c.life + "}r"}, &counter{name: "{" + c.life + "}n"}
	for range 300 {
		if m.stop.Load() || c.gone != nil {
			return
		}
		switch rng.IntN(6) {
		case 0, 1:
			k.next++
			c.ask("SET", k.name, k.value(k.next))
			c.flush()
			k.set(k.next, c.expect("+OK\r\n"))
		case 2:
			c.ask("GET", k.name)
			c.flush()
			k.get(c, c.reply())
		case 3, 4:
			watch := rng.IntN(2) == 0
			if watch {
				c.ask("WATCH", k.name)
				c.flush()
				if c.expect("+OK\r\n") != mayhemDone {
					continue
				}
			}
			k.next++
			c.ask("MULTI")
			c.ask("SET", k.name, k.value(k.next))
			c.ask("INCR", n.name)
			c.ask("EXEC")
			c.flush()
			for _, want := range []string{"+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n"} {
				c.expect(want)
			}
			reply := c.reply()
			switch {
			case reply != nil && (string(reply) == "*-1\r\n" || bytes.HasPrefix(reply, []byte("-ERR EXEC without MULTI"))):
			case c.outcome(reply) == mayhemUnknown:
				k.set(k.next, mayhemUnknown)
				n.unknown++
			case reply[0] == '*':
				result, ok := bytes.CutPrefix(reply, []byte("*2\r\n+OK\r\n"))
				if !ok {
					m.mistake("EXEC of %s: %q", k.name, reply)
					return
				}
				k.set(k.next, mayhemDone)
				n.incremented(c, bytes.Clone(result))
			case reply[0] != '-':
				m.mistake("EXEC of %s: the reply of another request, %q", k.name, reply)
			}
		case 5:
			version := []string{"2", "2", "3"}[rng.IntN(3)]
			c.ask("HELLO", "3")
			c.ask("HELLO", "2")
			if version == "3" {
				c.ask("PING", c.life)
			}
			c.flush()
			three := c.hello()
			if two := c.hello(); three && two && version == "3" {
				if reply := c.reply(); reply != nil && !bytes.Contains(reply, []byte(c.life)) {
					m.mistake("PING: the reply of another request, %q", reply)
				}
			}
		}
	}
}

// hello reads the reply to HELLO, which may be a map.
func (c *mayhemConn) hello() bool {
	if c.gone != nil {
		return false
	}
	line, err := c.r.ReadSlice('\n')
	if c.gone = err; err != nil {
		c.m.lost.Add(1)
		return false
	}
	if line[0] != '*' && line[0] != '%' && !bytes.HasPrefix(line, []byte("-NOPROTO ")) {
		c.m.mistake("life %s: HELLO: the reply of another request, %q; asked %q", c.life, line, c.asked)
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(line[1:])))
	if line[0] == '%' {
		n *= 2
	}
	for range n {
		c.buf = c.buf[:0]
		if c.gone = c.read(); c.gone != nil {
			return false
		}
	}
	c.m.replies.Add(1)
	return true
}

// scriptChaos runs scripts by body and by SHA-1, each of its own.
func scriptChaos(m *mayhem, _ int, rng *rand.Rand) {
	c := m.dial()
	if c == nil {
		return
	}
	defer c.close()
	n := &counter{name: c.life + ":s"}
	body := "return redis.call('INCR', KEYS[1]) --" + c.life
	id := script.IDOf([]byte(body))
	for range 200 {
		if m.stop.Load() || c.gone != nil {
			return
		}
		depth := 1 + rng.IntN(20)
		for range depth {
			if rng.IntN(10) == 0 {
				c.ask("EVAL", body, "1", n.name)
			} else {
				c.ask("EVALSHA", string(id[:]), "1", n.name)
			}
		}
		c.flush()
		for range depth {
			n.incremented(c, c.reply())
		}
	}
}

// queueChaos pushes numbers and takes them from the other end, blocking. None comes twice or out of order, and none is
// missing unless something was in doubt.
func queueChaos(m *mayhem, _ int, rng *rand.Rand) {
	push, pop := m.dial(), m.dial()
	if push == nil || pop == nil {
		return
	}
	defer push.close()
	defer pop.close()
	list := push.life + ":q"
	last, doubt := 0, false
	for i := range 200 {
		if m.stop.Load() || push.gone != nil || pop.gone != nil {
			return
		}
		pop.ask("BLPOP", list, "5")
		pop.flush()
		if rng.IntN(2) == 0 {
			pass(time.Millisecond)
		}
		push.ask("RPUSH", list, fmt.Sprint(list, "=", i+1))
		push.flush()
		pushed := push.outcome(push.reply())
		reply := pop.reply()
		popped := pop.outcome(reply)
		doubt = doubt || pushed == mayhemUnknown || popped == mayhemUnknown
		if popped != mayhemDone {
			doubt = true // The number stays in the list, or has gone.
			continue
		}
		text := strings.TrimSpace(string(reply))
		value, number, ok := strings.Cut(text[strings.LastIndex(text, "\n")+1:], "=")
		n, _ := strconv.Atoi(number)
		switch {
		case text == "*-1" && pushed == mayhemDone && !doubt:
			m.mistake("list %s: %d was pushed and not taken", list, i+1)
		case text == "*-1":
		case !ok || value != list || n <= last || n > i+1 || n != i+1 && !doubt:
			m.mistake("list %s: %q after %d, pushed up to %d", list, reply, last, i+1)
		default:
			last = n
		}
	}
}

// spreadChaos reads and writes many keys at once, over all servers.
func spreadChaos(m *mayhem, _ int, rng *rand.Rand) {
	c := m.dial()
	if c == nil {
		return
	}
	defer c.close()
	keys := make([]register, 24)
	for i := range keys {
		keys[i].name = fmt.Sprint(c.life, ":m", i)
	}
	for range 300 {
		if m.stop.Load() || c.gone != nil {
			return
		}
		from := rng.IntN(len(keys))
		chosen := keys[from:min(len(keys), from+1+rng.IntN(8))]
		args := []string{"MGET"}
		write := rng.IntN(2) == 0
		if write {
			args[0] = "MSET"
		}
		for i := range chosen {
			k := &chosen[i]
			args = append(args, k.name)
			if write {
				k.next++
				args = append(args, k.value(k.next))
			}
		}
		c.ask(args...)
		c.flush()
		reply := c.reply()
		o := c.outcome(reply)
		if write {
			for i := range chosen {
				chosen[i].set(chosen[i].next, o)
			}
			continue
		}
		if o != mayhemDone {
			continue
		}
		head, rest, _ := bytes.Cut(reply, []byte("\r\n"))
		if string(head) != fmt.Sprint("*", len(chosen)) {
			m.mistake("MGET of %d keys: %q", len(chosen), reply)
			return
		}
		for i := range chosen {
			var f resp.Framer
			n, _, _ := f.Next(rest)
			chosen[i].get(c, rest[:n])
			rest = rest[n:]
		}
	}
}

// greedyChaos sends much and reads late, or not at all.
func greedyChaos(m *mayhem, _ int, rng *rand.Rand) {
	c := m.dial()
	if c == nil {
		return
	}
	defer c.close()
	const n = 20_000
	what := []string{"x\r\n", "PING " + c.life + "\r\n", "GET " + c.life + "\r\n"}[rng.IntN(3)]
	go func() { _, _ = io.WriteString(c.conn, "BLPOP "+c.life+":none 0.1\r\n"+strings.Repeat(what, n)) }()
	_ = c.conn.SetReadDeadline(time.Now().Add(chaosPatience))
	pass(time.Duration(rng.IntN(100)) * time.Millisecond)
	if rng.IntN(2) == 0 {
		return
	}
	for i := range n + 1 {
		reply := c.reply()
		if reply == nil {
			return
		}
		if i > 0 && what[0] == 'P' && !bytes.Contains(reply, []byte(c.life)) {
			m.mistake("PING %s: %q", c.life, reply)
		}
	}
}
