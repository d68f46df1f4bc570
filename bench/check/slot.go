package check

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
)

// CodisSlots and ClusterSlots are the sizes of the two slot spaces.
const (
	CodisSlots   = 1024
	ClusterSlots = 16384
)

// CodisSlot is the slot of a key in a Codis product of 1024 slots: CRC-32 of the
// hash tag. Only a tag that is not closed makes the whole key count; an empty tag
// is hashed as it is.
func CodisSlot(key []byte) int {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if end := bytes.IndexByte(key[open+1:], '}'); end >= 0 {
			key = key[open+1 : open+1+end]
		}
	}
	return int(crc32.ChecksumIEEE(key) % CodisSlots)
}

// ClusterSlot is the slot of a key in Redis Cluster: CRC-16/XMODEM of the hash
// tag, unless that is empty.
func ClusterSlot(key []byte) int {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if end := bytes.IndexByte(key[open+1:], '}'); end > 0 {
			key = key[open+1 : open+1+end]
		}
	}
	var crc uint16
	for _, b := range key {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % ClusterSlots)
}

// Slots is a set of slots. Immutable after ParseSlots.
type Slots struct{ ranges [][2]int }

// ParseSlots reads "0-255,300". An empty text is an empty set.
func ParseSlots(text string) (Slots, error) {
	var s Slots
	if text == "" {
		return s, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		first, last, found := strings.Cut(strings.TrimSpace(part), "-")
		if !found {
			last = first
		}
		from, err1 := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || from < 0 || to < from || to >= ClusterSlots {
			return Slots{}, fmt.Errorf("slots %q: %q is not a range in 0-%d", text, part, ClusterSlots-1)
		}
		s.ranges = append(s.ranges, [2]int{from, to})
	}
	return s, nil
}

// Contains reports whether slot is in the set.
func (s Slots) Contains(slot int) bool {
	return slices.ContainsFunc(s.ranges, func(r [2]int) bool { return r[0] <= slot && slot <= r[1] })
}
