package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"
)

const (
	// maxTxnOps is that of Consul 1.9; since 1.13 it is 128.
	maxTxnOps = 64
	// maxTxnBytes is what Consul takes as the body of a transaction, values in base64; some is left for the rest of it.
	maxTxnBytes = 500 << 10
)

// Fence makes a transaction fail unless the session holds the lock on key: a controller that was deposed can't write even
// if it does not know yet.
func Fence(key, session string) *api.KVTxnOp {
	return &api.KVTxnOp{Verb: api.KVCheckSession, Key: key, Session: session}
}

// WriteDocument writes d below root as the epoch after d.Epoch.Epoch, in one transaction that fails with ErrConflict if
// index is not what ReadDocument has returned with it. index 0 makes a new topology, with its format. more are operations of
// the same transaction, as Fence. On success d.Epoch is what was written. It does not validate.
//
// An error that is not ErrConflict tells nothing: the transaction may have gone through. Read again to find out.
func WriteDocument(ctx context.Context, kv *api.KV, root string, index uint64, d *Document, more ...*api.KVTxnOp) error {
	groups, err := json.Marshal(d.Groups)
	if err != nil {
		return err
	}
	slots, err := json.Marshal(d.Slots)
	if err != nil {
		return err
	}
	next := d.Epoch
	next.Epoch++
	next.Digest = Digest(groups, slots)
	epoch, err := json.Marshal(next)
	if err != nil {
		return err
	}
	// The guards come first, so that the error is theirs. One on the epoch is enough: no epoch, no news.
	ops := append(api.KVTxnOps{}, more...)
	if index == 0 {
		op, err := initFormat(ctx, kv, root, d.Format)
		if err != nil {
			return err
		}
		ops = append(ops, op...)
	}
	ops = append(ops,
		&api.KVTxnOp{Verb: api.KVCAS, Key: root + keyEpoch, Value: epoch, Index: index},
		&api.KVTxnOp{Verb: api.KVSet, Key: root + keyGroups, Value: groups},
		&api.KVTxnOp{Verb: api.KVSet, Key: root + keySlots, Value: slots})
	if err := Commit(ctx, kv, ops); err != nil {
		return fmt.Errorf("write epoch %d of %s: %w", next.Epoch, root, err)
	}
	d.Epoch = next
	return nil
}

// initFormat is what makes the format, nothing when it is there already.
func initFormat(ctx context.Context, kv *api.KV, root string, f Format) (api.KVTxnOps, error) {
	value, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	pair, _, err := kv.Get(root+keyFormat, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, explain("read "+root+keyFormat, err)
	}
	if pair == nil {
		return api.KVTxnOps{{Verb: api.KVCAS, Key: root + keyFormat, Value: value}}, nil
	}
	var there Format
	if err := json.Unmarshal(pair.Value, &there); err != nil || there != f {
		return nil, fmt.Errorf("%s%s is %s, and never changes: a topology of another kind needs another root", root, keyFormat, pair.Value)
	}
	return nil, nil
}

// Commit runs a transaction. When one of its conditions does not hold it fails with ErrConflict.
func Commit(ctx context.Context, kv *api.KV, ops api.KVTxnOps) error {
	size := 0
	for _, op := range ops {
		size += len(op.Value)*4/3 + len(op.Key) + 128
	}
	if len(ops) > maxTxnOps || size > maxTxnBytes {
		return fmt.Errorf("a transaction of %d operations and about %d bytes is more than Consul takes (%d, %d): use fewer, longer ranges of slots",
			len(ops), size, maxTxnOps, maxTxnBytes)
	}
	ctx, cancel := context.WithTimeout(ctx, firstWait)
	defer cancel()
	ok, resp, _, err := kv.Txn(ops, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return explain("transaction", err)
	}
	if ok {
		return nil
	}
	reasons := []error{ErrConflict}
	for _, e := range resp.Errors {
		reasons = append(reasons, errors.New(e.What))
	}
	return errors.Join(reasons...)
}
