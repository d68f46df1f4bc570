package dialect

import (
	"bytes"
	"strconv"
	"time"

	"sluice/proxy/resp"
	"sluice/router"
)

// Way is how a key of a moving slot is found.
type Way uint8

// The ways.
const (
	RunAtSource     Way = iota // SLOTSMGRT-EXEC-WRAPPER at the source runs the request, or says where the key is
	ReadAtSource               // the request at the source, and behind it EXISTS, which proves that the key was there
	AwaitBackground            // the background migration moves the key; EXISTS at the source says when it has gone
	MoveFenced                 // SLOTSMGRTTAGONE for each key, between fences, which wait for batches of the background
	MoveAlone                  // SLOTSMGRTTAGONE for one key at a time, and EXISTS behind it
	BringKeys                  // DUMP at the source, RESTORE at the target, UNLINK at the source (bringkey.go)
)

// KeyRequest is what decides about the Way.
type KeyRequest struct {
	Method router.Method
	Single bool // one key, and no more to be done than to send the request
	Reads  bool // it only reads
	// Refused says that the source would not run the request for its client.
	Refused bool
}

// AppendWrapped appends SLOTSMGRT-EXEC-WRAPPER key command args...: the source of a moving slot runs the
// command if it has the key. args are the command's, its name first.
func AppendWrapped(dst, key []byte, args [][]byte) []byte {
	dst = resp.AppendArray(dst, len(args)+2)
	dst = resp.AppendBulk(dst, "SLOTSMGRT-EXEC-WRAPPER")
	dst = resp.AppendBulk(dst, key)
	for _, arg := range args {
		dst = resp.AppendBulk(dst, arg)
	}
	return dst
}

// Wrapped is the first number of the wrapper's reply (codis-server 3.2, slots_async.c).
type Wrapped int8

// The answers of the wrapper.
const (
	WrappedError   Wrapped = -1 // the source would not run the command
	WrappedGone    Wrapped = 0  // the key is not at the source
	WrappedMoving  Wrapped = 1  // the key is on its way
	WrappedRun     Wrapped = 2  // the command was run, its reply follows
	WrappedUnknown Wrapped = 3  // not the reply of a wrapper; nothing was run
)

// ReadWrapped reads the start of the wrapper's reply, "*2\r\n:2\r\n" and so on. body is where the reply of the
// command starts. ok is false when more of the reply is needed.
func ReadWrapped(reply []byte) (w Wrapped, body int, ok bool) {
	end := bytes.IndexByte(reply, '\n')
	if end < 0 {
		return 0, 0, false
	}
	if reply[0] != '*' {
		return WrappedUnknown, 0, true
	}
	second := bytes.IndexByte(reply[end+1:], '\n')
	if second < 0 && len(reply) > end+1 && reply[end+1] != ':' {
		return WrappedUnknown, 0, true
	}
	if second < 0 {
		return 0, 0, false
	}
	body = end + 1 + second + 1
	switch string(reply[:body]) {
	case "*2\r\n:2\r\n":
		return WrappedRun, body, true
	case "*2\r\n:1\r\n":
		return WrappedMoving, body, true
	case "*2\r\n:0\r\n":
		return WrappedGone, body, true
	case "*2\r\n:-1\r\n":
		return WrappedError, body, true
	}
	return WrappedUnknown, body, true
}

// AppendMoveKey appends SLOTSMGRTTAGONE host port timeout key: it moves a key, and all keys with its hash tag,
// to the server at host and port, and answers how many.
func AppendMoveKey(dst []byte, host, port string, timeout time.Duration, key []byte) []byte {
	dst = resp.AppendArray(dst, 5)
	dst = resp.AppendBulk(dst, "SLOTSMGRTTAGONE")
	dst = resp.AppendBulk(dst, host)
	dst = resp.AppendBulk(dst, port)
	dst = resp.AppendBulk(dst, strconv.FormatInt(timeout.Milliseconds(), 10))
	return resp.AppendBulk(dst, key)
}

// AppendMoveSlot appends SLOTSMGRTTAGSLOT-ASYNC host port timeout maxbulks maxbytes slot numkeys, as a dashboard sends it.
func AppendMoveSlot(dst []byte, host, port string, timeout time.Duration, slot router.Slot, keys int) []byte {
	args := []string{
		"SLOTSMGRTTAGSLOT-ASYNC", host, port, strconv.FormatInt(timeout.Milliseconds(), 10), "200", "33554432",
		strconv.Itoa(int(slot)), strconv.Itoa(keys),
	}
	dst = resp.AppendArray(dst, len(args))
	for _, arg := range args {
		dst = resp.AppendBulk(dst, arg)
	}
	return dst
}

// AppendSlotKeys appends SLOTSINFO slot 1: how many keys a codis-server or a Pika has in a slot.
func AppendSlotKeys(dst []byte, slot router.Slot) []byte {
	dst = resp.AppendBulk(resp.AppendArray(dst, 3), "SLOTSINFO")
	return resp.AppendBulk(resp.AppendBulk(dst, strconv.Itoa(int(slot))), "1")
}

// SlotKeys reads the answer: *1 *2 :slot :keys, or *0 for none.
func SlotKeys(reply []byte) (keys int, ok bool) {
	lines := bytes.Split(reply, []byte("\r\n"))
	if string(lines[0]) == "*0" {
		return 0, true
	}
	if len(lines) != 5 || string(lines[0]) != "*1" || string(lines[1]) != "*2" || len(lines[3]) < 2 || lines[3][0] != ':' {
		return 0, false
	}
	keys, err := strconv.Atoi(string(lines[3][1:]))
	return keys, err == nil && keys >= 0
}

// FenceRequest is SLOTSMGRT-ASYNC-FENCE: it is answered when no batch runs. The answer, +OK or that of the batch it has
// waited for, says nothing else.
var FenceRequest = []byte("*1\r\n$21\r\nSLOTSMGRT-ASYNC-FENCE\r\n")

// KeyMoved reads the reply of SLOTSMGRTTAGONE. With ok the key is not at the source any more; n is how many
// keys this call moved. Everything else leaves open where the key is, even on both sides, and is worth
// another try.
func KeyMoved(reply []byte) (n int, ok bool) {
	line := bytes.TrimRight(reply, "\r\n")
	if len(line) < 2 || line[0] != ':' {
		return 0, false
	}
	n, err := strconv.Atoi(string(line[1:]))
	return n, err == nil && n >= 0
}

// AppendExists appends the question whether a server has a key, EXISTS key key. AppendLength is its other half, and
// Present and Absent read the answers. On a Pika no single command tells. TYPE of 4.0 goes on saying hash, list, set or
// zset of a key that has gone; EXISTS of one key may be answered from the cache, which a move does not clear, and
// EXISTS of several keys is not (4.0.1 and 3.5.5, src/pika_kv.cc ExistsCmd::ReadCache); and EXISTS of 3.5 does not see
// streams (3.5.5, src/storage/src/storage.cc Storage::Exists).
func AppendExists(dst, key []byte) []byte {
	dst = resp.AppendArray(dst, 3)
	dst = resp.AppendBulk(dst, "EXISTS")
	return resp.AppendBulk(resp.AppendBulk(dst, key), key)
}

// AppendLength appends the second part of the question of AppendExists.
func AppendLength(dst, key []byte) []byte {
	return resp.AppendBulk(resp.AppendBulk(resp.AppendArray(dst, 2), "XLEN"), key)
}

// Absent reports whether the replies to EXISTS and XLEN say that the key does not exist. XLEN may be refused: then it
// is no stream.
func Absent(exists, length []byte) bool { return string(exists) == ":0\r\n" && !counts(length) }

// Present reports whether the replies to EXISTS and XLEN say that the key exists.
func Present(exists, length []byte) bool {
	return counts(exists) || string(exists) == ":0\r\n" && counts(length)
}

// sizeQuestions ask how large a key is, by type. A server refuses all of them but one.
var sizeQuestions = []struct{ command, kind, unit string }{
	{"STRLEN", "a string", "bytes"}, {"LLEN", "a list", "elements"}, {"HLEN", "a hash", "fields"}, {"SCARD", "a set", "members"},
	{"ZCARD", "a sorted set", "members"},
}

// SizeQuestions is how many questions it takes to learn how large a key is, one for each type that a Pika moves.
func SizeQuestions() int { return len(sizeQuestions) }

// AppendSizeQuestion appends question i.
func AppendSizeQuestion(dst []byte, i int, key []byte) []byte {
	return resp.AppendBulk(resp.AppendBulk(resp.AppendArray(dst, 2), sizeQuestions[i].command), key)
}

// Size puts the answers, one behind the other, into words: "a list of 1000642 elements", "" when they say nothing.
func Size(replies []byte) string {
	for i, line := range bytes.Split(replies, []byte("\r\n")) {
		if i < len(sizeQuestions) && counts(line) {
			q := sizeQuestions[i]
			return q.kind + " of " + string(line[1:]) + " " + q.unit
		}
	}
	return ""
}

// counts reports whether a reply is a number above 0.
func counts(reply []byte) bool {
	return len(reply) > 1 && reply[0] == ':' && reply[1] >= '1' && reply[1] <= '9'
}
