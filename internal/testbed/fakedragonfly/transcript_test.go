package fakedragonfly

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fake"
)

// TestTranscript replays what real servers answered.
func TestTranscript(t *testing.T) {
	text, err := os.ReadFile("testdata/dragonfly-1.36.txt")
	if err != nil {
		t.Fatal(err)
	}
	p := newPlayer(t)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	requests := 0
	for i := 0; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], "#") {
			continue
		}
		head, request, ok := strings.Cut(lines[i], "> ")
		if !ok {
			p.direct(t, strings.Fields(lines[i]))
			continue
		}
		i++
		requests++
		p.play(t, i, head, request, lines[i])
	}
	if requests < 50 {
		t.Errorf("only %d requests", requests)
	}
}

// player has three nodes; n3 is a replica of n1.
type player struct {
	nodes   map[string]*Server
	conns   map[string]*client
	configs map[string]string
	ports   *strings.Replacer
	keys    []string
	hold    *fake.Hold
}

func newPlayer(t *testing.T) *player {
	p := &player{nodes: map[string]*Server{}, conns: map[string]*client{}, keys: movingKeys(150)}
	var ports []string
	for i, id := range []string{"n1", "n2", "n3"} {
		s := Start(t, Options{ID: id})
		p.nodes[id] = s
		p.conns[id], p.conns[id+"a"] = connect(t, s.Addr()), connect(t, s.AdminAddr())
		ports = append(ports, fmt.Sprint(19301+i), strconv.Itoa(s.Port()))
	}
	ports = append(ports, "k0{t0}", p.keys[0], "KEY0", strconv.Itoa(fake.SlotOf(p.keys[0])))
	p.ports = strings.NewReplacer(ports...)
	n1, n2, n3 := p.nodes["n1"].Node(), p.nodes["n2"].Node(), []Node{p.nodes["n3"].Node()}
	p.configs = map[string]string{
		"two": JSON(Shard{Slots: left, Master: n1, Replicas: n3}, Shard{Slots: right, Master: n2}),
		"move": JSON(Shard{Slots: left, Master: n1, Replicas: n3, Migrations: []Move{p.nodes["n2"].MoveTo(moving...)}},
			Shard{Slots: right, Master: n2}),
		"moved": JSON(Shard{Slots: stays, Master: n1, Replicas: n3}, Shard{Slots: grown, Master: n2}),
	}
	return p
}

func (p *player) direct(t *testing.T, words []string) {
	t.Helper()
	switch words[0] {
	case "push":
		for _, id := range []string{"n3", "n2", "n1"} {
			p.conns[id+"a"].expect(t, "+OK\r\n", "DFLYCLUSTER", "CONFIG", p.configs[words[1]])
		}
	case "fill":
		fill(p.nodes["n1"], p.keys)
	case "hold":
		p.hold = p.nodes[words[1]].Faults.Hold(Paused)
	case "arrived":
		arrived(t, p.hold)
	case "release":
		p.hold.Release()
	default:
		t.Fatalf("bad line %q", words)
	}
}

func (p *player) play(t *testing.T, line int, head, request, want string) {
	t.Helper()
	want = p.ports.Replace(want)
	args := strings.Split(p.ports.Replace(request), " ")
	id, becomes := strings.CutSuffix(head, "?")
	ask := func() error {
		if got := strings.NewReplacer("\r\n", `\r\n`, "\n", `\n`).Replace(p.conns[id].ask(t, args...)); got != want {
			return fmt.Errorf("line %d: %s: got\n%s\nwant\n%s", line, request, got, want)
		}
		return nil
	}
	if becomes {
		testbed.Eventually(t, ask, 20*time.Second)
		return
	}
	if err := ask(); err != nil {
		t.Error(err)
	}
}
