package consul

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// Errors of Forget.
var (
	ErrNoMember = errors.New("there is no such proxy")
	ErrAlive    = errors.New("its session is not over")
)

// Forget deletes what a proxy has left behind that is gone for good, so that nobody waits any more for its acknowledgement.
// While its session lives it is refused with ErrAlive; ErrNoMember says that there is nothing to forget. Both are looked at
// again when the keys go; then ErrConflict says that the proxy has come back.
//
// A session that is over proves nothing: the proxy may be cut off from Consul, and send on what it was sent. That its
// process has ended is for the caller to know. One that lives all the same writes its keys again when it can.
func Forget(ctx context.Context, kv *api.KV, root, id string) error {
	var ops api.KVTxnOps
	for _, dir := range []string{dirMembers, dirProxies, dirAcks} {
		key := root + dir + id
		pair, _, err := kv.Get(key, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
		switch {
		case err != nil:
			return explain("read "+key, err)
		case pair == nil && dir == dirMembers:
			return fmt.Errorf("%s: %w", key, ErrNoMember)
		case pair == nil:
			ops = append(ops, &api.KVTxnOp{Verb: api.KVCheckNotExists, Key: key})
		case pair.Session != "":
			return fmt.Errorf("%s is held by session %s: %w", key, pair.Session, ErrAlive)
		default:
			ops = append(ops, &api.KVTxnOp{Verb: api.KVDeleteCAS, Key: key, Index: pair.ModifyIndex})
		}
	}
	if err := Commit(ctx, kv, ops); err != nil {
		return fmt.Errorf("forget proxy %s of %s: %w", id, root, err)
	}
	return nil
}
