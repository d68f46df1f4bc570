package load

import (
	"bytes"
	"errors"
	"testing"
)

func TestVerifiedValueNoticesEveryChange(t *testing.T) {
	key, other := []byte("key:000000000007"), []byte("key:000000000008")
	for _, size := range []int{minVerifiedBytes(4), 50, 1024} {
		value := make([]byte, size)
		fillVerified(value, key, 0xbeef)
		if err := checkVerified(value, key); err != nil {
			t.Fatalf("intact value of %d bytes: %v", size, err)
		}
		if err := checkVerified(value, other); !errors.Is(err, errOtherKey) {
			t.Errorf("value of another key: %v", err)
		}
		if err := checkVerified(value[:minVerifiedBytes(4)-1], key); !errors.Is(err, errShortValue) {
			t.Errorf("short value: %v", err)
		}
		for i := range value {
			broken := bytes.Clone(value)
			broken[i] ^= 1
			if checkVerified(broken, key) == nil {
				t.Errorf("size %d: change of byte %d not noticed", size, i)
			}
		}
		if size > minVerifiedBytes(4) && checkVerified(value[:size-1], key) == nil {
			t.Errorf("size %d: lost byte not noticed", size)
		}
	}
}

func TestVerifiedValueNoticesTwoWritesInOne(t *testing.T) {
	key := []byte("key:000000000007")
	first, second := make([]byte, 200), make([]byte, 200)
	fillVerified(first, key, 1)
	fillVerified(second, key, 2)
	mixed := append(first[:100:100], second[100:]...)
	if err := checkVerified(mixed, key); !errors.Is(err, errChecksum) {
		t.Errorf("mixed value: %v", err)
	}
}
