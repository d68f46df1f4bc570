package fakecodis

import (
	"slices"
	"strconv"

	"github.com/tidwall/resp"
)

// maxMembers is how many elements of a key go into one command, as in Pika.
const maxMembers = 512

// value is what a key holds at one moment.
type value struct {
	kind     string     // As TYPE says; "none" for no key.
	text     string     // Of a string.
	elements []string   // Fields and values, elements, members, or members and scores as they are to be added.
	entries  [][]string // Of a stream: id, field, value...
	ttlMS    int64      // 0: does not expire.
}

// read returns what a key holds, in one look per part. Scores are written with format.
func (s *Server) read(db int, key string, format func(score float64) string) value {
	v := value{kind: s.exec(db, "TYPE", key).String()}
	switch v.kind {
	case "string":
		v.text = s.exec(db, "GET", key).String()
	case "hash":
		v.elements = words(s.exec(db, "HGETALL", key))
	case "list":
		v.elements = words(s.exec(db, "LRANGE", key, "0", "-1"))
	case "set":
		v.elements = words(s.exec(db, "SMEMBERS", key))
	case "zset":
		scores, _ := s.data.DB(db).SortedSet(key) // Gone meanwhile: no elements.
		for member, score := range scores {
			v.elements = append(v.elements, format(score), member)
		}
	case "stream":
		for _, e := range s.exec(db, "XRANGE", key, "-", "+").Array() {
			v.entries = append(v.entries, append([]string{e.Array()[0].String()}, words(e.Array()[1])...))
		}
	}
	if ms := int64(s.exec(db, "PTTL", key).Integer()); ms > 0 {
		v.ttlMS = ms
	}
	return v
}

func words(v resp.Value) []string {
	list := make([]string, len(v.Array()))
	for i, e := range v.Array() {
		list[i] = e.String()
	}
	return list
}

// fullScore keeps all digits; shortScore keeps six decimals, as Pika does.
func fullScore(score float64) string { return strconv.FormatFloat(score, 'g', -1, 64) }

func shortScore(score float64) string { return strconv.FormatFloat(score, 'f', 6, 64) }

// add returns the commands that fill a key of a type with elements, at most maxMembers of them each.
func (v value) add(key string) [][]string {
	name, per := "", 1
	switch v.kind {
	case "string":
		return [][]string{{"SET", key, v.text}}
	case "hash":
		name, per = "HMSET", 2
	case "list":
		name = "RPUSH"
	case "set":
		name = "SADD"
	case "zset":
		name, per = "ZADD", 2
	default:
		return nil
	}
	var commands [][]string
	for part := range slices.Chunk(v.elements, maxMembers*per) {
		commands = append(commands, append([]string{name, key}, part...))
	}
	return commands
}

// copyCommands returns what makes another server's key like ours, with all digits and milliseconds. For a key that has gone
// it is nothing (codis 3.2, slots_async.c singleObjectIteratorNext: STAGE_PREPARE goes to STAGE_DONE).
func (s *Server) copyCommands(db int, key string) [][]string {
	v := s.read(db, key, fullScore)
	if v.kind == "none" {
		return nil
	}
	commands := append([][]string{{"DEL", key}}, v.add(key)...)
	if v.ttlMS > 0 {
		commands = append(commands, []string{"PEXPIRE", key, strconv.FormatInt(v.ttlMS, 10)})
	}
	return commands
}
