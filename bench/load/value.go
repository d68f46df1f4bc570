package load

import (
	"bytes"
	"errors"
	"hash/crc32"
	"strconv"
)

// A verified value names its key and protects the rest with a checksum:
//
//	<key> ' ' <nonce, 8 hex> ' ' <checksum, 8 hex> ' ' <filler>
//
// The key shows a reply that belongs to another request. The nonce differs from
// write to write and, repeated in the filler, shows a value put together from two
// writes. The checksum covers everything but itself and shows lost or changed
// bytes anywhere.

const (
	keyDigits = 12
	hexDigits = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Reasons of a verification failure.
var (
	errShortValue = errors.New("value too short to be verified")
	errOtherKey   = errors.New("value of another key")
	errChecksum   = errors.New("value with a wrong checksum")
)

func minVerifiedBytes(prefixBytes int) int {
	return prefixBytes + keyDigits + 1 + hexDigits + 1 + hexDigits + 1
}

// putKey writes the twelve digits of a key number.
func putKey(dst []byte, n uint64) {
	_ = dst[keyDigits-1]
	for i := keyDigits - 1; i >= 0; i-- {
		q := n / 10
		dst[i] = byte('0' + n - q*10)
		n = q
	}
}

func putHex(dst []byte, n uint32) {
	const digits = "0123456789abcdef"
	for i := hexDigits - 1; i >= 0; i-- {
		dst[i] = digits[n&15]
		n >>= 4
	}
}

// fillVerified writes a verified value of key over all of dst.
func fillVerified(dst, key []byte, nonce uint32) {
	at := copy(dst, key)
	dst[at] = ' '
	putHex(dst[at+1:], nonce)
	mark := dst[at+1 : at+1+hexDigits]
	at += 1 + hexDigits
	dst[at] = ' '
	sum := at + 1
	at = sum + hexDigits
	dst[at] = ' '
	for at++; at < len(dst); {
		at += copy(dst[at:], mark)
	}
	putHex(dst[sum:], checksum(dst, sum))
}

// checkVerified tells whether value is an intact value of key.
func checkVerified(value, key []byte) error {
	if len(value) < minVerifiedBytes(len(key)-keyDigits) {
		return errShortValue
	}
	if !bytes.Equal(value[:len(key)], key) {
		return errOtherKey
	}
	sum := len(key) + 1 + hexDigits + 1
	want, err := strconv.ParseUint(string(value[sum:sum+hexDigits]), 16, 32)
	if err != nil || uint32(want) != checksum(value, sum) {
		return errChecksum
	}
	return nil
}

// checksum covers value without the hexDigits bytes at offset sum.
func checksum(value []byte, sum int) uint32 {
	c := crc32.Update(0, castagnoli, value[:sum])
	return crc32.Update(c, castagnoli, value[sum+hexDigits:])
}
