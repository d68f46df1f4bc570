package local

import (
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/command"
)

// Param is a parameter of CONFIG that is Sluice's own. T is what is in force, which its owner has made a copy of.
type Param[T any] struct {
	Name string
	Get  func(in *T) string
	// Set puts a value in, or says what is wrong with it in Redis' words. nil: it can't be changed while the process
	// runs.
	Set    func(in *T, value string) (wrong string)
	OfPool bool // it is of the client's pool, not of the process
}

// Fixed never changes.
func Fixed[T any](name, value string) Param[T] {
	return Shown(name, func(*T) string { return value })
}

// Shown can't be set.
func Shown[T any](name string, get func(in *T) string) Param[T] {
	return Param[T]{Name: name, Get: get}
}

// Int is a number from low to high.
func Int[T any](name string, at func(in *T) *int, low, high int64) Param[T] {
	return Param[T]{
		Name: name,
		Get:  func(in *T) string { return strconv.Itoa(*at(in)) },
		Set: func(in *T, value string) string {
			n, wrong := IntegerIn(value, low, high)
			*at(in) = int(n)
			return wrong
		},
	}
}

// IntegerIn reads a number from low to high, or says what is wrong with it.
func IntegerIn(value string, low, high int64) (n int64, wrong string) {
	n, ok := command.Integer([]byte(value))
	if !ok {
		return 0, "argument couldn't be parsed into an integer"
	}
	return n, outside(n, low, high)
}

func outside(n, low, high int64) string {
	if n < low || n > high {
		return fmt.Sprintf("argument must be between %d and %d inclusive", low, high)
	}
	return ""
}

// Bytes is a size. It is shown in bytes, as Redis shows sizes.
func Bytes[T any](name string, at func(in *T) *int, low, high int64) Param[T] {
	p := Int(name, at, low, high)
	p.Set = func(in *T, value string) string {
		n, ok := parseBytes(value)
		if !ok {
			return "argument must be a memory value"
		}
		*at(in) = int(min(n, math.MaxInt)) // More than there can be is no limit.
		return outside(n, low, high)
	}
	return p
}

// parseBytes reads "64mb" as Redis and Sluice's configuration read it.
func parseBytes(text string) (int64, bool) {
	units := []struct {
		name string
		size int64
	}{{"gb", 1 << 30}, {"mb", 1 << 20}, {"kb", 1 << 10}, {"g", 1e9}, {"m", 1e6}, {"k", 1e3}, {"b", 1}, {"", 1}}
	digits := strings.TrimRight(text, "bkmgBKMG")
	for _, u := range units {
		if strings.ToLower(text[len(digits):]) == u.name {
			n, err := strconv.ParseUint(digits, 10, 63)
			return int64(n) * u.size, err == nil && int64(n) <= math.MaxInt64/u.size
		}
	}
	return 0, false
}

// Duration is a time, written as in the configuration: "500ms".
func Duration[T any](name string, at func(in *T) *time.Duration, low, high time.Duration) Param[T] {
	return Param[T]{
		Name: name,
		Get:  func(in *T) string { return durationText(*at(in)) },
		Set: func(in *T, value string) string {
			d, err := time.ParseDuration(value)
			switch {
			case err != nil:
				return `argument must be a duration with a unit, such as "500ms"`
			case d < low || d > high:
				return fmt.Sprintf("argument must be between %s and %s inclusive", durationText(low), durationText(high))
			}
			*at(in) = d
			return ""
		},
	}
}

// durationText is "1m" and not "1m0s".
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Bool is yes or no.
func Bool[T any](name string, at func(in *T) *bool) Param[T] {
	return Param[T]{
		Name: name,
		Get:  func(in *T) string { return YesNo(*at(in)) },
		Set: func(in *T, value string) string {
			switch strings.ToLower(value) {
			case "yes":
				*at(in) = true
			case "no":
				*at(in) = false
			default:
				return "argument must be 'yes' or 'no'"
			}
			return ""
		},
	}
}

// YesNo is how Redis shows what is on or off.
func YesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// Level is Redis' loglevel.
func Level[T any](name string, at func(in *T) *slog.Level) Param[T] {
	return Param[T]{
		Name: name,
		Get:  func(in *T) string { return redisLevel(*at(in)) },
		Set: func(in *T, value string) string {
			for _, l := range redisLevels {
				if strings.EqualFold(value, l.name) {
					*at(in) = l.level
					return ""
				}
			}
			return "argument(s) must be one of the following: debug, verbose, notice, warning"
		},
	}
}

// redisLevels are Redis' names of log levels and what they set.
var redisLevels = []struct {
	name  string
	level slog.Level
}{{"debug", slog.LevelDebug}, {"verbose", slog.LevelDebug}, {"notice", slog.LevelInfo}, {"warning", slog.LevelWarn}}

func redisLevel(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "notice"
	}
	return "warning"
}
