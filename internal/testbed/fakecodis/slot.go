package fakecodis

import (
	"hash/crc32"
	"strings"
)

// hashTag returns the part of a key that is hashed, and whether it is a tag. Codis takes what is between the
// first "{" and the first "}" behind it, also when that is empty.
func hashTag(key string) (tag string, tagged bool) {
	begin := strings.IndexByte(key, '{')
	if begin < 0 {
		return key, false
	}
	end := strings.IndexByte(key[begin+1:], '}')
	if end < 0 {
		return key, false
	}
	return key[begin+1 : begin+1+end], true
}

// slotOf returns the slot of a key, the CRC-32 of what is hashed, and whether that is a tag.
func slotOf(key string, slots int) (slot int, crc uint32, tagged bool) {
	tag, tagged := hashTag(key)
	crc = crc32.ChecksumIEEE([]byte(tag))
	return int(crc % uint32(slots)), crc, tagged
}
