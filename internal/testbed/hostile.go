package testbed

import (
	"context"
	"io"
	"net"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/resp"
)

// Attack is an answer that no server in order gives.
type Attack struct {
	Name string
	// Begin and then Repeat, for ever or Times, are what is sent.
	Begin, Repeat string
	Times         int
	// Pace is the time between two repetitions; 0 sends as fast as the other side reads.
	Pace time.Duration
	// Want is in the error that whoever reads it has to report; "" for one that only time ends.
	Want string
}

// deep is how often aggregates are nested: enough to overflow the stack of a reader that recurses.
const deep = 2_000_000

// Attacks lists them.
func Attacks() []Attack {
	const long = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	const levels, elements, bytes, protocol = " levels, ", " elements, ", " bytes, ", "Protocol error: "
	return []Attack{
		{Name: "nested arrays", Repeat: "*1\r\n", Times: deep, Want: levels},
		{Name: "nested maps", Repeat: "%1\r\n+k\r\n", Times: deep, Want: levels},
		{Name: "maps nested in keys", Repeat: "%1\r\n", Times: deep, Want: levels},
		{Name: "nested sets", Repeat: "~1\r\n", Times: deep, Want: levels},
		{Name: "nested attributes", Repeat: "|1\r\n+k\r\n", Times: deep, Want: levels},
		{Name: "nested pushes", Repeat: ">1\r\n", Times: deep, Want: protocol},
		{Name: "arrays nested in a push", Begin: ">1\r\n", Repeat: "*1\r\n", Times: deep, Want: levels},
		{Name: "arrays nested in an attribute", Begin: "|1\r\n", Repeat: "*1\r\n", Times: deep, Want: levels},
		{Name: "a huge array", Begin: "*2147483647\r\n", Want: elements},
		{Name: "a huge map", Begin: "%1073741823\r\n", Want: elements},
		{Name: "a huge set", Begin: "~999999999999\r\n", Want: elements},
		{Name: "a huge push", Begin: ">2147483647\r\n", Want: elements},
		{Name: "a huge attribute", Begin: "|999999999999999999\r\n", Want: elements},
		{Name: "a count beyond all numbers", Begin: "*9223372036854775808\r\n", Want: protocol},
		{Name: "a huge string", Begin: "$536870912\r\n", Want: bytes},
		{Name: "a huge verbatim string", Begin: "=536870912\r\n", Want: bytes},
		{Name: "a huge error", Begin: "!536870912\r\n", Want: bytes},
		{Name: "a length beyond all numbers", Begin: "$9223372036854775808\r\n", Want: protocol},
		{Name: "an array that stays open", Begin: "*2\r\n+a\r\n"},
		{Name: "attributes without end", Repeat: "|1\r\n+k\r\n+v\r\n", Want: elements},
		{Name: "empty attributes without end", Repeat: "|0\r\n", Want: elements},
		{Name: "pushes without end", Repeat: ">1\r\n+x\r\n", Want: elements},
		{Name: "a line without end", Begin: "+", Repeat: long, Want: bytes},
		{Name: "an error without end", Begin: "-ERR ", Repeat: long + "\n", Want: bytes},
		{Name: "another protocol", Begin: "HTTP/1.1 400 Bad Request\r\n\r\n", Want: protocol},
		{Name: "a line that drips", Begin: "+", Repeat: "x", Pace: time.Millisecond},
		{Name: "attributes that drip", Repeat: "|0\r\n", Pace: time.Millisecond},
		{Name: "silence"},
	}
}

// send writes the attack until it is over or nobody reads any more.
func (a Attack) send(w io.Writer) error {
	if _, err := io.WriteString(w, a.Begin); err != nil || a.Repeat == "" {
		return err
	}
	if a.Pace > 0 {
		tick := time.NewTicker(a.Pace)
		defer tick.Stop()
		for range tick.C {
			if _, err := io.WriteString(w, a.Repeat); err != nil {
				return err
			}
		}
	}
	const atOnce = 4096
	many := strings.Repeat(a.Repeat, atOnce)
	for left := a.Times; ; left -= atOnce {
		if a.Times > 0 && left < atOnce {
			_, err := io.WriteString(w, strings.Repeat(a.Repeat, max(left, 0)))
			return err
		}
		if _, err := io.WriteString(w, many); err != nil {
			return err
		}
	}
}

// Hostile listens on a port of 127.0.0.1 until the test ends. It answers command, in capitals, with the attack, and others
// with what answers has for their first two words or their first one, else with OK.
func Hostile(t testing.TB, attack Attack, command string, answers map[string]string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			work.Go(func() {
				defer conn.Close()
				hostileTalk(conn, attack, command, answers)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	return l.Addr().String()
}

func hostileTalk(conn net.Conn, attack Attack, command string, answers map[string]string) {
	for rd := resp.NewReader(conn); ; {
		v, _, err := rd.ReadValue()
		if err != nil {
			return
		}
		var words []string
		for _, arg := range v.Array() {
			words = append(words, strings.ToUpper(arg.String()))
		}
		name := strings.Join(words, " ")
		if strings.HasPrefix(name+" ", command+" ") {
			if attack.send(conn) != nil {
				return
			}
			continue
		}
		reply, known := answers[strings.Join(words[:min(2, len(words))], " ")]
		if !known {
			reply, known = answers[words[0]]
		}
		if !known {
			reply = "+OK\r\n"
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

// Survive has ask run against a hostile server for every attack on the answer to command. ask has to return before its ctx
// ends, or soon after, with an error that names the server, and where it is not time that ends the attack the command and what is
// wrong; what an answer only announces must not take memory. answers are as in Hostile.
func Survive(t *testing.T, command string, answers map[string]string, ask func(ctx context.Context, addr string) error) {
	for _, a := range Attacks() {
		t.Run(a.Name, func(t *testing.T) {
			addr := Hostile(t, a, command, answers)
			ctx, want := t.Context(), []string{addr, strings.ToLower(command), strings.ToLower(a.Want)}
			if a.Want == "" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
				want = want[:1]
			}
			before := allocated()
			err := ask(ctx, addr)
			took := allocated() - before
			if err == nil {
				t.Fatal("there is no error")
			}
			for _, part := range want {
				if !strings.Contains(strings.ToLower(err.Error()), part) {
					t.Errorf("no %q in: %v", part, err)
				}
			}
			if n := len(err.Error()); n > 2<<10 {
				t.Errorf("an error of %d bytes: %.200s", n, err)
			}
			most := uint64(1 << 30)
			if a.Repeat == "" {
				most = 4 << 20
			}
			if took > most {
				t.Errorf("%d bytes allocated, at most %d are right", took, most)
			}
		})
	}
}

// allocated is how many bytes the process has allocated since it began.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
