// Package merge makes one reply of those of several servers. It knows nothing of servers: replies go in, and a
// reply comes out.
//
// Functions that return bad say with it which of the replies is nothing that the command can answer, -1 when all
// are. The replies are whole, not empty, and no errors, but where it is said. Results may be views into them.
package merge

import (
	"bytes"
	"slices"

	"sluice/proxy/resp"
)

// none is the value of bad when all replies are right.
const none = -1

// Sum adds integers.
func Sum(replies [][]byte) (reply []byte, bad int) {
	var sum int64
	for i, r := range replies {
		n, ok := resp.Integer(r)
		if !ok {
			return nil, i
		}
		sum += n
	}
	return resp.AppendInt(nil, sum), none
}

// Least is the least of some integers.
func Least(replies [][]byte) (reply []byte, bad int) {
	least := int64(0)
	for i, r := range replies {
		n, ok := resp.Integer(r)
		if !ok {
			return nil, i
		}
		if i == 0 || n < least {
			least, reply = n, r
		}
	}
	return reply, none
}

// And takes arrays of zeros and ones, all of one length: an element is 1 if it is in all of them.
func And(replies [][]byte) (reply []byte, bad int) {
	merged := bytes.Clone(replies[0])
	for i, r := range replies {
		if r[0] != '*' || len(r) != len(merged) {
			return nil, i
		}
		for at, c := range r {
			if c == '0' && merged[at] == '1' && r[at-1] == ':' {
				merged[at] = '0'
			}
		}
	}
	return merged, none
}

// Common keeps the elements of the first array that are in all others, byte for byte.
func Common(replies [][]byte) (reply []byte, bad int) {
	var common [][]byte
	for i, r := range replies {
		list, ok := resp.Elements(r)
		if !ok {
			return nil, i
		}
		if i == 0 {
			common = list
		}
		common = slices.DeleteFunc(common, func(e []byte) bool {
			return !slices.ContainsFunc(list, func(o []byte) bool { return bytes.Equal(e, o) })
		})
	}
	return append(resp.AppendArray(nil, len(common)), bytes.Join(common, nil)...), none
}

// One is the first reply that is no error. Of errors, which replies may be here, that nothing runs at a server says
// least.
func One(replies [][]byte) []byte {
	best := replies[0]
	for _, r := range replies {
		if r[0] != '-' {
			return r
		}
		if bytes.HasPrefix(best, []byte("-NOTBUSY")) {
			best = r
		}
	}
	return best
}

// Running chooses a reply to FUNCTION STATS that tells of a running function, which is the one thing that servers
// differ in.
func Running(replies [][]byte) []byte {
	for _, r := range replies {
		if _, running, ok := bytes.Cut(r, []byte("running_script\r\n")); ok && !resp.IsNull(running) {
			return r
		}
	}
	return replies[0]
}

// Keys joins arrays of keys. What keep refuses is left out; it may be nil.
func Keys(replies [][]byte, keep func(from int, key []byte) bool) (reply []byte, bad int) {
	var keys []byte
	count := 0
	for i, r := range replies {
		n, rest, ok := resp.CutHeader(r, '*')
		if !ok {
			return nil, i
		}
		var left int
		keys, left, ok = AppendKeys(keys, n, rest, func(key []byte) bool { return keep == nil || keep(i, key) })
		if !ok {
			return nil, i
		}
		count += left
	}
	return append(resp.AppendArray(make([]byte, 0, len(keys)+16), count), keys...), none
}

// AppendKeys appends those of n keys, which buf begins with, that are to be kept, and says how many these are. It
// reports false when there are not so many keys.
func AppendKeys(dst []byte, n int, buf []byte, keep func(key []byte) bool) (kept []byte, left int, ok bool) {
	for range n {
		key, rest, ok := resp.CutBulk(buf)
		if !ok {
			return dst, 0, false
		}
		if keep(key) {
			dst = append(dst, buf[:len(buf)-len(rest)]...)
			left++
		}
		buf = rest
	}
	return dst, left, true
}

// Interleave makes one array of several: element i comes from array of[i], whose elements come in order.
func Interleave(replies [][]byte, of []int) (reply []byte, bad int) {
	size := 16
	rest := make([][]byte, len(replies))
	for i, r := range replies {
		_, values, ok := resp.CutHeader(r, '*')
		if !ok {
			return nil, i
		}
		rest[i] = values
		size += len(values)
	}
	merged := resp.AppendArray(make([]byte, 0, size), len(of))
	for _, at := range of {
		var f resp.Framer
		n, done, err := f.Next(rest[at])
		if !done || err != nil {
			return nil, at
		}
		merged = append(merged, rest[at][:n]...)
		rest[at] = rest[at][n:]
	}
	return merged, none
}
