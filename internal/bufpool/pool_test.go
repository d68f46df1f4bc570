package bufpool

import (
	"bytes"
	"testing"
)

func TestGetRoundsUp(t *testing.T) {
	f := func(size, want int) {
		t.Helper()
		if got := cap(New(0).Get(size)); got != want {
			t.Errorf("cap of Get(%d) = %d, want %d", size, got, want)
		}
	}
	f(0, 64)
	f(64, 64)
	f(65, 80)
	f(80, 80)
	f(81, 96)
	f(112, 112)
	f(113, 128)
	f(129, 160)
	f(1033, 1280)
	f(4096, 4096)
	f(65536, 65536)
	f(60000, 65536)
	f(65537, 65537)
}

func TestPutRecyclesUpToTheLimit(t *testing.T) {
	p := New(128)
	a, b := p.Get(120), p.Get(1)
	p.Put(a)
	p.Put(b) // 192 bytes would be over the limit.
	if p.Free() != 128 {
		t.Fatalf("free: %d", p.Free())
	}
	if got := p.Get(128); &got[:1][0] != &a[:1][0] || p.Free() != 0 {
		t.Error("the buffer was not recycled")
	}
	p.Put(make([]byte, 0, 100)) // No size class.
	p.Put(make([]byte, 0, 128<<10))
	if p.Free() != 0 {
		t.Errorf("free: %d", p.Free())
	}
	p.Put(a)
	p.Trim()
	if p.Free() != 0 || len(p.free[7]) != 0 {
		t.Error("Trim left something")
	}
}

func TestAppendGrows(t *testing.T) {
	p := New(1 << 20)
	var b []byte
	var want []byte
	for i := range 1000 {
		piece := bytes.Repeat([]byte{byte(i)}, i%97)
		b = p.Append(b, piece)
		want = append(want, piece...)
	}
	if !bytes.Equal(b, want) {
		t.Error("contents differ")
	}
}

// Every capacity that Get returns is one that Put takes, into the list that Get looks in.
func TestEveryClassIsRecycled(t *testing.T) {
	for size := 1; size <= MaxSize; size++ {
		class, capacity := classOf(size)
		if again, c := classOf(capacity); again != class || c != capacity || capacity < size || class >= classes {
			t.Fatalf("size %d: class %d of %d bytes, whose own is %d of %d", size, class, capacity, again, c)
		}
	}
}
