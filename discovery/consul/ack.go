package consul

import (
	"context"
	"encoding/json"
	"time"
)

// An ack says: this proxy does as epoch N says, and everything that it has sent before is answered. Whoever moves slots
// waits for it. Only barriers have one, since it is a write to Raft for each proxy. It stays true, so it is written again
// after a lost session. It grows, unless an operator has let an older topology in.

// AckRecord is what acks/<id> holds.
type AckRecord struct {
	Epoch  uint64 `json:"epoch"`
	TookMS int64  `json:"took_ms"` // from the doorbell to the ack
}

// Applied says that the topology of epoch is in force, and when barrier, that everything sent before is answered too. It
// never blocks. Of several barriers that wait to be written, the latest is: it says the same of those before it.
func (m *Member) Applied(epoch uint64, barrier bool, took time.Duration) {
	m.mu.Lock()
	if m.state == StateJoining {
		m.state = StateServing
	}
	m.epoch = epoch
	if barrier && !(m.ackWanted && m.ack.Epoch == epoch) {
		m.ack = AckRecord{Epoch: epoch, TookMS: took.Milliseconds()}
		m.ackWanted, m.ackThere = true, false
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

// writeAck writes the ack unless it is there. The caller has the turn of the keys.
func (m *Member) writeAck(ctx context.Context) error {
	m.mu.Lock()
	ack, due := m.ack, m.ackWanted && !m.ackThere
	m.mu.Unlock()
	if !due {
		return nil
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
