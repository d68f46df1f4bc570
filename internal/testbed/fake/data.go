package fake

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/tidwall/resp"

	"sluice/proxy/command"
	"sluice/router"
)

// maxMembers is how many elements of a key go into one command.
const maxMembers = 512

// Data is what a node of a cluster holds, by slot. Safe for concurrent use.
type Data struct {
	mini *miniredis.Miniredis
	srv  *server.Server // Runs commands on mini; it has no listener.

	mu    sync.Mutex
	slots map[int]map[string]bool // Keys that may be there: what has been written is in, what was deleted may be too.
}

// NewData returns empty Data; Close frees it.
func NewData() (*Data, error) {
	d := &Data{mini: miniredis.NewMiniRedis(), slots: map[int]map[string]bool{}}
	conn, err := d.mini.Dial() // Makes it serve commands without a listener.
	if err != nil {
		return nil, err
	}
	if err := conn.Close(); err != nil {
		return nil, err
	}
	d.srv = d.mini.Server()
	return d, nil
}

// Close frees the data.
func (d *Data) Close() { d.mini.Close() }

// SlotOf is the slot of a key.
func SlotOf(key string) int { return int(router.ClusterModel().Slot([]byte(key))) }

// Meaning is what a request does to which slots.
type Meaning struct {
	Known, Writes, Blocks bool
	Keys                  []string
}

// Mean looks a request up.
func (d *Data) Mean(args []string) Meaning {
	raw := make([][]byte, len(args))
	for i, arg := range args {
		raw[i] = []byte(arg)
	}
	c := command.Lookup(raw[0])
	if c == nil || !d.srv.IsRegisteredCommand(args[0]) {
		return Meaning{Known: d.srv.IsRegisteredCommand(args[0])}
	}
	m := Meaning{Known: true, Writes: c.Is(command.Write) || !c.Is(command.ReadOnly) && strings.HasPrefix(strings.ToUpper(args[0]), "EVAL")}
	m.Blocks = c.Is(command.Blocking)
	at, err := c.AppendKeys(nil, raw)
	if err != nil {
		return m // miniredis answers that the number of arguments is wrong.
	}
	for _, k := range at {
		m.Keys = append(m.Keys, args[k])
	}
	return m
}

// Run runs a command that writes to keys, or reads, and answers into peer.
func (d *Data) Run(peer *server.Peer, args []string) { d.srv.Dispatch(peer, args) }

// Note remembers that keys may be there. It is called before the command that writes them.
func (d *Data) Note(keys []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range keys {
		slot := SlotOf(key)
		if d.slots[slot] == nil {
			d.slots[slot] = map[string]bool{}
		}
		d.slots[slot][key] = true
	}
}

// Do runs a command past everything and returns its reply.
func (d *Data) Do(args ...string) resp.Value {
	if m := d.Mean(args); m.Writes {
		d.Note(m.Keys)
	}
	return Ask(func(c *Client) error {
		d.srv.Dispatch(c.Peer, args)
		return nil
	})
}

// Keys are those of a slot, in order.
func (d *Data) Keys(slot int) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var keys []string
	for key := range d.slots[slot] {
		if d.mini.DB(0).Exists(key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Count is the number of keys in slots.
func (d *Data) Count(in func(slot int) bool) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for slot, keys := range d.slots {
		if !in(slot) {
			continue
		}
		for key := range keys {
			if d.mini.DB(0).Exists(key) {
				n++
			}
		}
	}
	return n
}

// Flush deletes the keys of slots.
func (d *Data) Flush(in func(slot int) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for slot, keys := range d.slots {
		if !in(slot) {
			continue
		}
		for key := range keys {
			d.mini.DB(0).Del(key)
		}
		delete(d.slots, slot)
	}
}

// CopyCommands returns what makes another server's key like ours.
func (d *Data) CopyCommands(key string) [][]string {
	commands := append([][]string{{"DEL", key}}, d.add(key)...)
	if ms := d.Do("PTTL", key).Integer(); ms > 0 {
		commands = append(commands, []string{"PEXPIRE", key, strconv.Itoa(ms)})
	}
	return commands
}

// add returns the commands that fill a key, with at most maxMembers elements each.
func (d *Data) add(key string) [][]string {
	name, per := "", 1
	var elements []string
	switch d.Do("TYPE", key).String() {
	case "string":
		return [][]string{{"SET", key, d.Do("GET", key).String()}}
	case "hash":
		name, per, elements = "HMSET", 2, words(d.Do("HGETALL", key))
	case "list":
		name, elements = "RPUSH", words(d.Do("LRANGE", key, "0", "-1"))
	case "set":
		name, elements = "SADD", words(d.Do("SMEMBERS", key))
	case "zset":
		name, per = "ZADD", 2
		scores, _ := d.mini.DB(0).SortedSet(key) // Gone meanwhile: no elements.
		for member, score := range scores {
			elements = append(elements, strconv.FormatFloat(score, 'g', -1, 64), member)
		}
	default:
		return nil
	}
	var commands [][]string
	for part := range slices.Chunk(elements, maxMembers*per) {
		commands = append(commands, append([]string{name, key}, part...))
	}
	return commands
}

func words(v resp.Value) []string {
	list := make([]string, len(v.Array()))
	for i, e := range v.Array() {
		list[i] = e.String()
	}
	return list
}
