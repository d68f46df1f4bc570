package discovery_test

import (
	"context"
	"fmt"

	"sluice/discovery"
	"sluice/discovery/static"
	"sluice/router"
)

// A pool whose groups stand in the configuration.
func ExampleKeeper() {
	src := static.New([]router.GroupSpec{
		{ID: "1", Master: "10.0.0.1:6379", Slots: []router.Range{{From: 0, To: 511}}},
		{ID: "2", Master: "10.0.0.2:6379", Slots: []router.Range{{From: 512, To: 1023}}},
	})
	ctx, cancel := context.WithCancel(context.Background())
	keeper := discovery.NewKeeper(discovery.Config{
		Model: router.CodisModel(router.CodisSlots), Source: src, Name: "static",
		Apply: func(table *router.Table) {
			fmt.Println("epoch", table.Epoch, "slot 600 is with", table.Owner(600).Master.Addr)
			cancel() // A server would store the table and go on.
		},
	})
	if err := keeper.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: epoch 1 slot 600 is with 10.0.0.2:6379
}
