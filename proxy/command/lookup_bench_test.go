package command

import (
	"bytes"
	"testing"
)

func BenchmarkLookup(b *testing.B) {
	f := func(name string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			raw := []byte(name)
			for b.Loop() {
				sink = Lookup(raw)
			}
		})
	}
	f("GET")
	f("set")
	f("MGET")
	f("HINCRBY")
	f("EXPIREAT")
	f("nosuch")
	f("HINCRBYFLOAT")
	f("ZREVRANGEBYSCORE")
}

// BenchmarkLookupMix looks up a sequence the branch predictor cannot learn by
// heart as easily as one name.
func BenchmarkLookupMix(b *testing.B) {
	b.ReportAllocs()
	names := bytes.Fields([]byte("GET set HGET get INCR SET Expire DEL " +
		"mget GET EXISTS hset ZADD GET lpush TTL"))
	i := 0
	for b.Loop() {
		sink = Lookup(names[i&15])
		i++
	}
}

func BenchmarkSub(b *testing.B) {
	b.ReportAllocs()
	client, name := Lookup([]byte("client")), []byte("SETINFO")
	for b.Loop() {
		sink = client.Sub(name)
	}
}

func BenchmarkAppendKeys(b *testing.B) {
	f := func(call string) {
		b.Run(string(bytes.Fields([]byte(call))[0]), func(b *testing.B) {
			b.ReportAllocs()
			args := bytes.Fields([]byte(call))
			c := Resolve(args)
			dst := make([]int, 0, 64)
			for b.Loop() {
				positions, failure = c.AppendKeys(dst[:0], args)
			}
		})
	}
	f("get k")
	f("mget a b c d e f g h")
	f("eval s 2 a b c")
	f("xread count 1 streams a b 0 0")
	f("sort k by w get o store d")
}

func BenchmarkFirstKeyIndex(b *testing.B) {
	f := func(call string) {
		b.Run(string(bytes.Fields([]byte(call))[0]), func(b *testing.B) {
			b.ReportAllocs()
			args := bytes.Fields([]byte(call))
			c := Resolve(args)
			for b.Loop() {
				position = c.FirstKeyIndex(args)
			}
		})
	}
	f("mget a b c")
	f("eval s 2 a b c")
}

func BenchmarkAppendAll(b *testing.B) {
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out = redis.AppendAll(out[:0], true)
	}
	b.SetBytes(int64(len(out)))
}
