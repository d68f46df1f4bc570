package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"
)

// The directories below the root that hold one key for each proxy, named by its id.
const (
	dirMembers = "members/"
	dirProxies = "proxies/"
	dirAcks    = "acks/"
)

// MemberRecord is what members/<id> holds.
type MemberRecord struct {
	ID            string `json:"id"`
	Name          string `json:"name"` // what its connections to servers are called in CLIENT LIST
	LastSeenEpoch uint64 `json:"last_seen_epoch"`
}

// ProxyRecord is what proxies/<id> holds.
type ProxyRecord struct {
	ID      string    `json:"id"`
	Addr    string    `json:"addr"`
	Admin   string    `json:"admin"`
	Version string    `json:"version"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	State   string    `json:"state"`
}

// ErrIDTaken is in the errors of Join and in Status when another session holds the keys of this proxy's id.
var ErrIDTaken = errors.New("another proxy has this id, or one had it that did not leave and whose session is not over yet")

// writeProxy writes proxies/<id>.
func (m *Member) writeProxy(ctx context.Context) error {
	record := m.record
	m.mu.Lock()
	record.State = m.state
	m.mu.Unlock()
	value, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if err := m.acquire(ctx, dirProxies, value); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stateThere = record.State
	return nil
}

// writeMember writes members/<id> by check and set: what an operator or a controller does to it at the same time is not
// overwritten unseen.
func (m *Member) writeMember(ctx context.Context) error {
	key := m.key(dirMembers)
	m.mu.Lock()
	record := MemberRecord{ID: m.cfg.ID, Name: "sluice:" + m.cfg.ID, LastSeenEpoch: m.epoch}
	m.mu.Unlock()
	for range 3 { // It is this proxy's own key: who else writes it does so once.
		index, same, err := m.memberIndex(ctx, key, &record)
		if err != nil {
			return refused("read "+key, m.needKeys(), err)
		}
		ok := same
		if !same {
			ok, err = m.casMember(ctx, key, index, record)
		}
		if err != nil {
			return refused("write "+key, m.needKeys(), err)
		}
		if ok {
			m.mu.Lock()
			m.seenThere, m.seenAt = record.LastSeenEpoch, time.Now()
			m.mu.Unlock()
			return nil
		}
	}
	return fmt.Errorf("write %s: somebody else writes it all the time", key)
}

// memberIndex is the index to compare with, 0 when there is no key, and whether it holds record already. An epoch that was
// seen by an earlier process with this id is taken over while this one has seen none.
func (m *Member) memberIndex(ctx context.Context, key string, record *MemberRecord) (uint64, bool, error) {
	opts, cancel := m.read(ctx)
	defer cancel()
	pair, _, err := m.cfg.Client.KV().Get(key, opts)
	if err != nil || pair == nil {
		return 0, false, err
	}
	var there MemberRecord
	if json.Unmarshal(pair.Value, &there) != nil {
		return pair.ModifyIndex, false, nil // It is not worth keeping.
	}
	if record.LastSeenEpoch == 0 {
		record.LastSeenEpoch = there.LastSeenEpoch
	}
	return pair.ModifyIndex, there == *record, nil
}

func (m *Member) casMember(ctx context.Context, key string, index uint64, record MemberRecord) (bool, error) {
	value, err := json.Marshal(record)
	if err != nil {
		return false, err
	}
	opts, cancel := m.write(ctx)
	defer cancel()
	ok, _, err := m.cfg.Client.KV().CAS(&api.KVPair{Key: key, Value: value, ModifyIndex: index}, opts)
	return ok, err
}

// acquire writes a key of this proxy under its session. A holder that acquires again only changes the value.
func (m *Member) acquire(ctx context.Context, dir string, value []byte) error {
	key, session := m.key(dir), m.currentSession()
	for range 5 { // The lock delay of a session before this one is 1 ms.
		opts, cancel := m.write(ctx)
		ok, _, err := m.cfg.Client.KV().Acquire(&api.KVPair{Key: key, Value: value, Session: session}, opts)
		cancel()
		if err != nil { // Perhaps the session is gone: the turn after an error begins with a renew.
			return refused("acquire "+key, m.needKeys(), err)
		}
		if ok {
			return nil
		}
		holder, err := m.holder(ctx, key)
		if err != nil {
			return refused("read "+key, m.needKeys(), err)
		}
		if holder != "" && holder != session {
			m.mu.Lock()
			m.forgetKeys()
			m.mu.Unlock()
			notify(m.leaseNews)
			return fmt.Errorf("acquire %s: held by session %s: %w", key, holder, ErrIDTaken)
		}
		m.wait(ctx, 2*time.Millisecond, nil)
	}
	return fmt.Errorf("acquire %s: Consul's lock delay is not over", key)
}

// holder is the session that holds key, "" none.
func (m *Member) holder(ctx context.Context, key string) (string, error) {
	opts, cancel := m.read(ctx)
	defer cancel()
	pair, _, err := m.cfg.Client.KV().Get(key, opts)
	if err != nil || pair == nil {
		return "", err
	}
	return pair.Session, nil
}

// deleteKeys deletes all three keys at once, unless another proxy has this id by now.
func (m *Member) deleteKeys(ctx context.Context, session string) error {
	holder, err := m.holder(ctx, m.key(dirProxies))
	if err != nil {
		return refused("read "+m.key(dirProxies), m.needKeys(), err)
	}
	if holder != "" && holder != session {
		return fmt.Errorf("leave the keys in place, session %s holds them: %w", holder, ErrIDTaken)
	}
	ops := api.KVTxnOps{
		{Verb: api.KVDelete, Key: m.key(dirMembers)},
		{Verb: api.KVDelete, Key: m.key(dirProxies)},
		{Verb: api.KVDelete, Key: m.key(dirAcks)},
	}
	if holder != "" { // Then it is still so when they go.
		ops = append(api.KVTxnOps{{Verb: api.KVCheckSession, Key: m.key(dirProxies), Session: session}}, ops...)
	}
	opts, cancel := m.read(ctx) // A transaction takes the options of a read.
	defer cancel()
	ok, result, _, err := m.cfg.Client.KV().Txn(ops, opts)
	if err == nil && !ok {
		err = txnError(result)
	}
	if err != nil {
		return refused("delete the proxy's keys", m.needKeys(), err)
	}
	return nil
}

// key is this proxy's key in one of the directories.
func (m *Member) key(dir string) string { return m.cfg.Root + dir + m.cfg.ID }

// txnError is why a transaction was not done.
func txnError(r *api.KVTxnResponse) error {
	var errs []error
	for _, e := range r.Errors {
		errs = append(errs, errors.New(e.What))
	}
	if len(errs) == 0 {
		return errors.New("the transaction was not done, and Consul does not say why")
	}
	return errors.Join(errs...)
}

// needKeys is what a token needs, for refused.
func (m *Member) needKeys() string {
	root := m.cfg.Root
	return fmt.Sprintf(`key_prefix %q, %q and %q { policy = "write" }`, root+dirMembers, root+dirProxies, root+dirAcks)
}
