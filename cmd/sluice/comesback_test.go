package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"sluice/bench/check"
	"sluice/internal/testbed"
	"sluice/internal/testbed/dashboard"
	"sluice/internal/testbed/fakecodis"
)

// A slot that moves away and comes back shows what was written meanwhile, though a Pika keeps what it had in its cache.
func TestSlotComesBackToAPika(t *testing.T) {
	t.Parallel()
	for _, method := range []dashboard.Method{dashboard.SemiAsync, dashboard.Sync} {
		t.Run(method.String(), func(t *testing.T) {
			t.Parallel()
			a, b := fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{}), fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{})
			admin := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
			s := serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
dialect = "pika"
[pool.discovery]
kind = "codis"
admin = %q
product = "codis-demo"
[pool.hold]
max_wait = "1m"
`, admin))
			d := dashboard.Start(dashboard.Options{Product: "codis-demo", Pika: true},
				dashboard.Group{ID: 1, Servers: []string{a.Addr()}}, dashboard.Group{ID: 2, Servers: []string{b.Addr()}})
			t.Cleanup(d.Close)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			if err := d.Assign(ctx, 1, dashboard.Slots(0, 1023)...); err != nil {
				t.Fatal(err)
			}
			if err := d.Online(ctx, admin); err != nil {
				t.Fatal(err)
			}
			conn := connect(t, s.addr)
			want := func(request, want string) {
				t.Helper()
				if got := do(t, conn, request); got != want {
					t.Errorf("%s: %s, want %s", request, got, want)
				}
			}
			slot := check.CodisSlot([]byte("{k}"))
			migrate := func(to int) {
				t.Helper()
				if moved, err := d.Migrate(ctx, []int{slot}, to, method); err != nil {
					t.Fatal(err, moved.Errors)
				}
			}
			want("SADD {k}set old", ":1")
			want("RPUSH {k}list old", ":1")
			want("HSET {k}hash f old", ":1")
			for range 2 { // There, and with the second round there again.
				want("SCARD {k}set", ":1") // Into the cache.
				want("LLEN {k}list", ":1")
				want("HLEN {k}hash", ":1")
				migrate(2)
				want("DEL {k}set", ":1")
				want("SADD {k}set 1 2 3", ":3")
				want("LSET {k}list 0 new", "+OK")
				want("HSET {k}hash g new", ":1")
				migrate(1)
				want("SCARD {k}set", ":3")
				want("LINDEX {k}list 0", "new")
				want("HLEN {k}hash", ":2")
				want("DEL {k}set", ":1")
				want("SADD {k}set old", ":1")
				want("HDEL {k}hash g", ":1")
			}
		})
	}
}
