package script

import (
	"fmt"
	"strings"
	"testing"
)

func TestCacheIsBounded(t *testing.T) {
	var s Cache
	put := func(i int, loaded bool) ID {
		body := fmt.Sprint(i, strings.Repeat("x", 100_000))
		id := IDOf([]byte(body))
		if got := s.Add(id, body, loaded); got != body {
			t.Fatalf("script %d: another body is kept", i)
		}
		return id
	}
	first, kept := put(-1, false), put(-2, true)
	used := put(-3, false)
	for i := range 1000 {
		put(i, false)
		if s.bytes > MaxBytes {
			t.Fatalf("%d bytes", s.bytes)
		}
		if _, ok := s.Body(used); !ok {
			t.Fatalf("script that is used was forgotten behind %d others", i)
		}
	}
	if _, ok := s.Body(first); ok {
		t.Error("script that was not used for long is kept")
	}
	if _, ok := s.Body(kept); !ok {
		t.Error("script of SCRIPT LOAD went before those of EVAL")
	}
	size := 0
	for _, e := range s.byID {
		size += len(e.Value.(*known).body) + overhead
	}
	if size != s.bytes || s.loaded.Len()+s.seen.Len() != len(s.byID) || s.generation.Load() == 0 {
		t.Errorf("%d bytes counted, %d are there; generation %d", s.bytes, size, s.generation.Load())
	}
	s.Add(ID{}, strings.Repeat("x", MaxScript+1), true)
	if _, ok := s.Body(ID{}); ok {
		t.Error("script beyond the limit is kept")
	}
	s.Clear()
	if _, ok := s.Body(kept); ok || s.bytes != 0 {
		t.Error("scripts are left behind clear")
	}
	put(1, true)
}
