package consul

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/internal/testbed"
)

// From the write of the epoch to the last ack, as the controller sees it. What is asserted is that all come; the
// times are logged.
func TestMemberAcksOfAHundred(t *testing.T) {
	t.Parallel()
	const members, rounds = 100, 5
	c := testbed.Consul(t)
	client := memberClient(t, c, "")
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	for i := range members {
		m := newMember(t, memberClient(t, c, ""), func(cfg *MemberConfig) {
			cfg.ID, cfg.Addr = fmt.Sprintf("p%d", i), fmt.Sprintf("127.0.0.1:%d", 7000+i)
			cfg.CheckTTL = 10 * time.Second
		})
		work.Go(func() { m.Run(ctx) })
		work.Go(func() { followEpoch(ctx, client, m.Member) })
	}
	seen := func(dir string) int {
		keys, _, err := client.KV().Keys("sluice/main/"+dir, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return len(keys)
	}
	testbed.Eventually(t, func() error {
		if n := seen(dirProxies); n != members {
			return fmt.Errorf("%d of %d have joined", n, members)
		}
		return nil
	}, 2*memberWait)

	var last []time.Duration
	for epoch := 1; epoch <= rounds; epoch++ {
		began := time.Now()
		doorbell := &api.KVPair{Key: "sluice/main/" + keyEpoch, Value: fmt.Append(nil, epoch)}
		if _, err := client.KV().Put(doorbell, nil); err != nil {
			t.Fatal(err)
		}
		if err := awaitAcks(client, members, fmt.Sprintf(`"epoch":%d,`, epoch)); err != nil {
			t.Fatal(err)
		}
		last = append(last, time.Since(began))
	}
	slices.Sort(last)
	t.Logf("%d members, epoch bump to all acks: p50 %s, max %s", members,
		last[len(last)/2].Round(time.Millisecond), last[len(last)-1].Round(time.Millisecond))
}

// followEpoch is a source of topology in four lines: it applies every epoch at once, as a barrier.
func followEpoch(ctx context.Context, client *api.Client, m *Member) {
	index := uint64(0)
	for ctx.Err() == nil {
		opts := (&api.QueryOptions{WaitIndex: index, WaitTime: memberWait}).WithContext(ctx)
		pair, meta, err := client.KV().Get("sluice/main/"+keyEpoch, opts)
		if err != nil {
			sleep(ctx, 100*time.Millisecond)
			continue
		}
		index = max(meta.LastIndex, 1)
		var epoch uint64
		if pair == nil {
			continue
		}
		if _, err := fmt.Sscan(string(pair.Value), &epoch); err == nil {
			m.Applied(epoch, "", true, 0)
		}
	}
}

// awaitAcks waits as the controller does: with a blocking query on all acks.
func awaitAcks(client *api.Client, members int, want string) error {
	index, acked := uint64(0), 0
	for deadline := time.Now().Add(2 * memberWait); time.Now().Before(deadline); {
		opts := &api.QueryOptions{WaitIndex: index, WaitTime: 5 * time.Second}
		pairs, meta, err := client.KV().List("sluice/main/"+dirAcks, opts)
		if err != nil {
			return err
		}
		index, acked = max(meta.LastIndex, 1), 0
		for _, p := range pairs {
			if strings.Contains(string(p.Value), want) {
				acked++
			}
		}
		if acked == members {
			return nil
		}
	}
	return fmt.Errorf("%d of %d have acked %s", acked, members, want)
}
