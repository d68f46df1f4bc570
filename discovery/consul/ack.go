package consul

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hashicorp/consul/api"
)

// An ack says: this proxy does as epoch N says, and everything that it has sent before is answered. Whoever moves slots
// waits for it. Only barriers have one, since it is a write to Raft for each proxy. It stays true, so it is written
// again after a lost session. It grows; when an operator has let an older topology in, it is deleted until the next
// barrier.

// AckRecord is what acks/<id> holds.
type AckRecord struct {
	Epoch  uint64 `json:"epoch"`
	Digest string `json:"digest"`  // of the topology: after a regress there are two with one number
	TookMS int64  `json:"took_ms"` // from the write of the epoch to the ack
}

// Applied says that the topology of epoch, with that digest, is in force, and when barrier, that everything sent
// before is answered too. It never blocks. Of several barriers that wait to be written, the latest is: it says the
// same of those before it.
func (m *Member) Applied(epoch uint64, digest string, barrier bool, took time.Duration) {
	m.mu.Lock()
	if m.state == StateJoining {
		m.state = StateServing
	}
	m.epoch = epoch
	same := m.ack.Epoch == epoch && m.ack.Digest == digest
	switch {
	case barrier && !(m.ackWanted && same):
		m.ack = AckRecord{Epoch: epoch, Digest: digest, TookMS: took.Milliseconds()}
		m.ackWanted, m.ackThere = true, false
	case !same && m.ackWanted && epoch <= m.ack.Epoch: // A regress: what the ack says is not true any more.
		m.ack, m.ackThere = AckRecord{}, false
	}
	stateNew, ackNew := m.state != m.stateThere, m.ackWanted && !m.ackThere
	m.mu.Unlock()
	if stateNew {
		notify(m.serviceNews)
	}
	if stateNew || ackNew {
		notify(m.keysNews)
	}
}

// writeAck writes the ack unless it is there, or deletes it if it is to be none. The caller has the turn of the keys.
func (m *Member) writeAck(ctx context.Context) error {
	m.mu.Lock()
	ack, due := m.ack, m.ackWanted && !m.ackThere
	m.mu.Unlock()
	if !due {
		return nil
	}
	if ack == (AckRecord{}) {
		return m.deleteAck(ctx)
	}
	value, err := json.Marshal(ack)
	if err != nil {
		return err
	}
	if err := m.acquire(ctx, dirAcks, value); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts.Acks++
	m.ackThere = m.ack == ack // Else another one came meanwhile, with news.
	return nil
}

// deleteAck deletes the ack, unless another proxy has this id by now. The caller has the turn of the keys.
func (m *Member) deleteAck(ctx context.Context) error {
	opts, cancel := m.read(ctx) // A transaction takes the options of a read.
	defer cancel()
	ok, result, _, err := m.cfg.Client.KV().Txn(api.KVTxnOps{
		{Verb: api.KVCheckSession, Key: m.key(dirProxies), Session: m.currentSession()},
		{Verb: api.KVDelete, Key: m.key(dirAcks)},
	}, opts)
	if err == nil && !ok {
		err = txnError(result)
	}
	if err != nil {
		return refused("delete "+m.key(dirAcks), m.needKeys(), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ack == (AckRecord{}) { // Else one came meanwhile.
		m.ackWanted = false
	}
	return nil
}
