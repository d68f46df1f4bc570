package conf

import (
	"encoding"
	"math"
	"strconv"
	"strings"
	"time"
)

// badValue is why a text is not a value of a type, and what to write instead.
type badValue struct {
	msg  string
	hint string
}

func (b *badValue) Error() string {
	if b.hint == "" {
		return b.msg
	}
	return b.msg + "; hint: " + b.hint
}

// Bytes is a number of bytes. Its text form is a whole number and a unit as in redis.conf:
// k, m and g are powers of 1000; kb, mb and gb are powers of 1024; no unit, or b, is bytes.
type Bytes int64

var (
	_ encoding.TextUnmarshaler = (*Bytes)(nil)
	_ encoding.TextMarshaler   = Bytes(0)
)

// byteUnits are in the order in which String tries them: the binary ones first, because those are
// what configuration files use, each family from the largest down.
var byteUnits = []struct {
	name string
	size Bytes
}{
	{"gb", 1 << 30}, {"mb", 1 << 20}, {"kb", 1 << 10},
	{"g", 1e9}, {"m", 1e6}, {"k", 1e3},
	{"b", 1},
}

// ParseBytes reads the text form, in any case of letters.
func ParseBytes(text string) (Bytes, error) {
	const hint = `write a whole number with b, k, kb, m, mb, g or gb, such as "64mb"`
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	if digits == 0 {
		return 0, &badValue{quote(text) + " is not a size", hint}
	}
	n, err := strconv.ParseInt(text[:digits], 10, 64)
	if err != nil {
		return 0, &badValue{quote(text) + " is more bytes than a 64-bit number holds", hint}
	}
	unit := strings.ToLower(text[digits:])
	if unit == "" {
		return Bytes(n), nil
	}
	for _, u := range byteUnits {
		if u.name != unit {
			continue
		}
		if n > math.MaxInt64/int64(u.size) {
			return 0, &badValue{quote(text) + " is more bytes than a 64-bit number holds", hint}
		}
		return Bytes(n) * u.size, nil
	}
	return 0, &badValue{quote(text) + " is not a size", hint}
}

// String returns a whole number of the largest unit that divides b, powers of 1024 before powers of
// 1000: "64mb", "3k", "1025".
func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b > 0 && u.size > 1 && b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText returns String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText is ParseBytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	v, err := ParseBytes(string(text))
	if err == nil {
		*b = v
	}
	return err
}

// Duration is a time.Duration whose text form is that of Go ("1h30m", "250ms"), printed without
// the trailing zero parts that time.Duration prints.
type Duration time.Duration

var (
	_ encoding.TextUnmarshaler = (*Duration)(nil)
	_ encoding.TextMarshaler   = Duration(0)
)

// ParseDuration reads the text form.
func ParseDuration(text string) (Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return Duration(d), nil
	}
	hint := `write a number with ns, us, ms, s, m or h, such as "500ms"`
	if _, numErr := strconv.ParseFloat(text, 64); numErr == nil {
		hint = "a duration needs a unit: " + strconv.Quote(text+"s")
	}
	return 0, &badValue{quote(text) + " is not a duration", hint}
}

// Std returns d as the type of the standard library.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns the canonical form: "1m" and not "1m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDuration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err == nil {
		*d = v
	}
	return err
}

// quote returns s for a message: in quotes on one line, cut when long, and without what stands
// before an @, since that is where URLs carry a password.
func quote(s string) string {
	const longest = 120 // the longest host:port is 261 bytes, and nobody reads those
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = mask + s[i:]
	}
	if len(s) > longest {
		s = s[:longest] + "..."
	}
	return strconv.Quote(s)
}
