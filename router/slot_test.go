package router

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestClusterSlot(t *testing.T) {
	f := func(key string, want Slot) {
		t.Helper()
		if got := ClusterModel().Slot([]byte(key)); got != want {
			t.Errorf("slot of %q: %d, want %d", key, got, want)
		}
	}
	// Values of CLUSTER KEYSLOT of a redis-server 7.0.15.
	f("", 0)
	f("foo", 12182)
	f("{foo}bar", 12182)
	f("123456789", 12739)
	f("foo{}{bar}", 8363)
	f("foo{{bar}}zap", 4015)
	f("foo{bar}{zap}", 5061)
	f("a{b", 13340)
}

func TestCodisSlot(t *testing.T) {
	f := func(key string, want Slot) {
		t.Helper()
		if got := CodisModel(CodisSlots).Slot([]byte(key)); got != want {
			t.Errorf("slot of %q: %d, want %d", key, got, want)
		}
	}
	// Values of SLOTSHASHKEY of a codis-server 3.2.11.
	f("foo", 289)
	f("{foo}bar", 289)
	f("a{b", 76)
	f("{}", 0)
	f("a{}b", 0)
	f("{t}1", 680)
}

func TestCRC16TakesFourBytesAStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOf(rapid.Byte()).Draw(t, "p")
		var want uint16
		for _, b := range p {
			want ^= uint16(b) << 8
			for range 8 {
				if want&0x8000 != 0 {
					want = want<<1 ^ 0x1021
				} else {
					want <<= 1
				}
			}
		}
		if got := crc16(p); got != want {
			t.Fatalf("crc16(%x) = %04x, want %04x", p, got, want)
		}
	})
}

func BenchmarkClusterSlot(b *testing.B) {
	key := []byte("user:000000012345")
	m := ClusterModel()
	for b.Loop() {
		m.Slot(key)
	}
}

func BenchmarkCodisSlot(b *testing.B) {
	key := bytes.Repeat([]byte("k"), 17)
	m := CodisModel(CodisSlots)
	for b.Loop() {
		m.Slot(key)
	}
}
