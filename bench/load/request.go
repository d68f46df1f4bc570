package load

import (
	"bytes"
	"strconv"
)

// builder appends requests to a buffer by copying a ready template and patching
// the digits of the keys. Owned by one loop; no locking.
type builder struct {
	keys     uint64
	mgetKeys int
	verify   bool

	get, set, mget, ping []byte
	keyAt                int   // offset of the key's digits in get and set
	setKeyAt             int   // offset of the whole key in set
	setValueAt           int   // offset of the value in set
	mgetAt               []int // offsets of the digits of each key in mget
	prefixBytes          int
	valueBytes           int
	nonce                uint32
	name                 []byte // scratch: the key that a reply is compared with
}

func newBuilder(c *Config, nonce uint32) *builder {
	b := &builder{
		keys: c.Keys, mgetKeys: c.MGetKeys, verify: c.Verify,
		prefixBytes: len(c.Prefix), valueBytes: c.ValueBytes, nonce: nonce,
	}
	key := append([]byte(c.Prefix), "000000000000"...)
	b.name = bytes.Clone(key)
	b.get = appendBulk(appendBulk(arrayHeader(2), []byte("GET")), key)
	b.keyAt = len(b.get) - 2 - keyDigits

	value := make([]byte, c.ValueBytes)
	for i := range value {
		value[i] = 'x'
	}
	b.set = appendBulk(appendBulk(arrayHeader(3), []byte("SET")), key)
	b.setKeyAt = len(b.set) - 2 - len(key)
	b.set = appendBulk(b.set, value)
	b.setValueAt = len(b.set) - 2 - len(value)

	b.mget = appendBulk(arrayHeader(1+c.MGetKeys), []byte("MGET"))
	for range c.MGetKeys {
		b.mget = appendBulk(b.mget, key)
		b.mgetAt = append(b.mgetAt, len(b.mget)-2-keyDigits)
	}
	b.ping = appendBulk(arrayHeader(1), []byte("PING"))
	return b
}

// append appends one request to dst. For MGET, key is the first of its keys.
func (b *builder) append(dst []byte, o op, key uint64) []byte {
	at := len(dst)
	switch o {
	case opGet:
		dst = append(dst, b.get...)
		putKey(dst[at+b.keyAt:], key)
	case opSet:
		dst = append(dst, b.set...)
		putKey(dst[at+b.keyAt:], key)
		if b.verify {
			b.nonce++
			name := dst[at+b.setKeyAt:][:b.prefixBytes+keyDigits]
			fillVerified(dst[at+b.setValueAt:][:b.valueBytes], name, b.nonce)
		}
	case opMGet:
		dst = append(dst, b.mget...)
		for i, digits := range b.mgetAt {
			putKey(dst[at+digits:], b.mgetKey(key, i))
		}
	case opPing:
		dst = append(dst, b.ping...)
	}
	return dst
}

// mgetKey returns the i'th key of the MGET whose first key is key. The step is
// a prime, so that the keys of one MGET lie in many slots.
func (b *builder) mgetKey(key uint64, i int) uint64 {
	return (key + uint64(i)*7919) % b.keys
}

func arrayHeader(n int) []byte {
	dst := []byte{'*'}
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\r', '\n')
}

func appendBulk(dst, body []byte) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, '\r', '\n')
	dst = append(dst, body...)
	return append(dst, '\r', '\n')
}
