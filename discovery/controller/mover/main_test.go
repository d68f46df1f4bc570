package mover

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/discovery/controller"
	"sluice/internal/leaktest"
	"sluice/router"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// batch is slots 0-7 of 64.
func batch(source, target string) Batch {
	b := Batch{Model: router.CodisModel(64), Source: source, Target: target}
	for slot := range router.Slot(8) {
		b.Slots = append(b.Slots, slot)
	}
	return b
}

// keysOf are n keys of the batch's slots.
func (b *Batch) keysOf(n int) (keys []string) {
	for i := 0; len(keys) < n; i++ {
		if key := fmt.Sprintf("key:%d", i); b.Model.Slot([]byte(key)) < 8 {
			keys = append(keys, key)
		}
	}
	return keys
}

// wantFinal checks that an error stays, and says something.
func wantFinal(t *testing.T, err error, text string) {
	t.Helper()
	if final := (Final{}); !errors.As(err, &final) || !strings.Contains(err.Error(), text) {
		t.Errorf("the error is %v, want a final one that says %q", err, text)
	}
}

// wantError checks that an error does not stay, and says something.
func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if final := (Final{}); err == nil || errors.As(err, &final) || !strings.Contains(err.Error(), text) {
		t.Errorf("the error is %v, want one that is tried again and says %q", err, text)
	}
}

func ignore(controller.Progress) {}
