package consul

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// The session has a TTL and no checks: with the node's serfHealth, which is the default, a flap of gossip ends it before
// its TTL, and the lease would be wrong. Its lock delay is the least there is, 1 ms: with Consul's 15 s a proxy could not
// take its own keys again after a loss. Behaviour delete: its keys go with it.
//
// Each renew is followed by one transaction that only reads: are the keys there, and ours. What is missing, because
// somebody has deleted it, is written again, members/<id> first.

// keepKeys renews the session and writes what is new until ctx ends or Leave is called.
func (m *Member) keepKeys(ctx context.Context) {
	next, failures := time.Now(), 0
	for {
		news := m.wait(ctx, time.Until(next), m.keysNews)
		if ctx.Err() != nil || m.left() {
			return
		}
		err := m.tendKeys(ctx, !news || failures > 0)
		switch {
		case err != nil:
			failures++
			next = time.Now().Add(retryAfter(failures, m.cfg.TTL/3))
		case !news || failures > 0:
			failures = 0
			next = time.Now().Add(jittered(m.cfg.TTL / 3))
		}
	}
}

// wait waits until there is news, which it reports, or d has passed, ctx has ended or Leave was called.
func (m *Member) wait(ctx context.Context, d time.Duration, news <-chan struct{}) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-news:
		return true
	case <-timer.C:
	case <-ctx.Done():
	case <-m.leaving:
	}
	return false
}

// jittered takes up to an eighth off d, so that proxies started together spread.
func jittered(d time.Duration) time.Duration { return d - rand.N(d/8+1) }

// retryAfter is the wait after so many failures in a row: from 50 ms on twice as long each time, at most limit, and of that
// a random half.
func retryAfter(failures int, limit time.Duration) time.Duration {
	d := min(50*time.Millisecond<<min(failures, 10), limit)
	return d/2 + rand.N(d/2+1)
}

// tendKeys does what there is to do about the session and its keys.
func (m *Member) tendKeys(ctx context.Context, renew bool) error {
	err := m.take(ctx, m.keysTurn)
	if err != nil {
		return err
	}
	defer func() { <-m.keysTurn }()
	if m.left() {
		return errors.New("this proxy has left")
	}
	if renew {
		err = m.renew(ctx)
	}
	if err == nil {
		err = m.join(ctx)
	}
	if err == nil {
		err = m.writeNews(ctx)
	}
	if ctx.Err() == nil || err == nil { // That the caller does not wait any longer is not Consul's fault.
		m.note("session", &m.keysSide, err)
	}
	return err
}

// renew renews the session, if there is one, and looks whether the keys are still its own.
func (m *Member) renew(ctx context.Context) error {
	session := m.currentSession()
	if session == "" {
		return nil
	}
	began := time.Now()
	opts, cancel := m.write(ctx)
	defer cancel()
	entry, _, err := m.cfg.Client.Session().Renew(session, opts)
	m.mu.Lock()
	switch {
	case err != nil:
		m.counts.RenewErrors++
	case entry == nil:
		m.counts.SessionsLost++
		m.forgetSession()
	default:
		m.counts.Renews++
	}
	m.mu.Unlock()
	notify(m.leaseNews)
	if err != nil {
		return refused("renew the session", needSession, err)
	}
	if entry == nil {
		m.cfg.Log.Warn("the session is gone, making another", "proxy", m.cfg.ID, "session", session)
		return nil
	}
	if err := m.verify(ctx, session); err != nil {
		return err
	}
	m.mu.Lock()
	m.lease.from = began
	m.mu.Unlock()
	notify(m.leaseNews)
	return nil
}

// forgetSession is for when it is gone, and its keys with it. mu is held.
func (m *Member) forgetSession() {
	m.session, m.lease.from = "", time.Time{}
	m.forgetKeys()
}

// forgetKeys makes join write them all. mu is held.
func (m *Member) forgetKeys() {
	m.joined, m.ackThere, m.stateThere = false, false, ""
}

// verify asks whether all keys are there, and held by session.
func (m *Member) verify(ctx context.Context, session string) error {
	m.mu.Lock()
	joined, acked := m.joined, m.ackThere
	m.mu.Unlock()
	if !joined {
		return nil
	}
	ops := api.KVTxnOps{
		{Verb: api.KVGet, Key: m.key(dirMembers)},
		{Verb: api.KVCheckSession, Key: m.key(dirProxies), Session: session},
	}
	if acked {
		ops = append(ops, &api.KVTxnOp{Verb: api.KVCheckSession, Key: m.key(dirAcks), Session: session})
	}
	opts, cancel := m.read(ctx)
	defer cancel()
	ok, result, _, err := m.cfg.Client.KV().Txn(ops, opts)
	if err != nil {
		return refused("look at the proxy's keys", m.needKeys(), err)
	}
	if ok {
		return nil
	}
	m.mu.Lock()
	m.counts.KeysLost++
	m.forgetKeys()
	m.mu.Unlock()
	notify(m.leaseNews)
	m.cfg.Log.Warn("keys of this proxy are gone, writing them again", "proxy", m.cfg.ID, "err", txnError(result))
	return nil
}

// join writes all keys, members/<id> first, and makes a session if there is none. It does nothing when they are there.
func (m *Member) join(ctx context.Context) error {
	m.mu.Lock()
	joined := m.joined
	m.mu.Unlock()
	if joined {
		return nil
	}
	if err := m.writeMember(ctx); err != nil {
		return err
	}
	if m.currentSession() == "" {
		if err := m.createSession(ctx); err != nil {
			return err
		}
	}
	if err := m.writeProxy(ctx); err != nil {
		return err
	}
	if err := m.writeAck(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	m.joined = true
	session := m.session
	m.mu.Unlock()
	notify(m.leaseNews)
	m.cfg.Log.Info("joined", "proxy", m.cfg.ID, "session", session)
	return nil
}

// writeNews writes what has changed since join.
func (m *Member) writeNews(ctx context.Context) error {
	m.mu.Lock()
	stateNew, ackNew := m.state != m.stateThere, m.ackWanted && !m.ackThere
	// The epoch in members/<id> is for people: no write for each one.
	seenNew := m.epoch != m.seenThere && time.Since(m.seenAt) >= reconcileEvery
	m.mu.Unlock()
	var err error
	if ackNew { // First: clients may be held until it is there.
		err = m.writeAck(ctx)
	}
	if err == nil && stateNew {
		err = m.writeProxy(ctx)
	}
	if err == nil && seenNew {
		err = m.writeMember(ctx)
	}
	return err
}

// createSession makes a session. Its lease counts from before that.
func (m *Member) createSession(ctx context.Context) error {
	began := time.Now()
	opts, cancel := m.write(ctx)
	defer cancel()
	id, _, err := m.cfg.Client.Session().CreateNoChecks(&api.SessionEntry{
		Name: "sluice:" + m.cfg.ID, TTL: m.cfg.TTL.String(), Behavior: api.SessionBehaviorDelete,
		LockDelay: time.Millisecond, // Zero would mean 15 s.
	}, opts)
	if err != nil {
		return refused("create a session", needSession, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session, m.lease.from = id, began
	m.counts.Sessions++
	return nil
}

// withdrawKeys is Leave's part of the keys and the session.
func (m *Member) withdrawKeys(ctx context.Context) error {
	if err := m.take(ctx, m.keysTurn); err != nil {
		return err
	}
	defer func() { <-m.keysTurn }()
	session := m.currentSession()
	err := m.deleteKeys(ctx, session)
	if session != "" {
		opts, cancel := m.write(ctx)
		defer cancel()
		if _, failed := m.cfg.Client.Session().Destroy(session, opts); failed != nil {
			err = errors.Join(err, refused("destroy the session", needSession, failed))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgetSession()
	return err
}

func (m *Member) currentSession() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.session
}

// What a token needs for a request, for refused.
const needSession = `session_prefix "" { policy = "write" }`

// refused is explain with the rights that a request needs, if it was refused for want of them.
func refused(what, need string, err error) error {
	// Renew has no StatusError, and a transaction says it in words.
	if text := err.Error(); strings.Contains(text, "response code: 403") || strings.Contains(text, "Permission denied") {
		return fmt.Errorf("consul: %s: the token is refused (%w); it needs %s, see etc/consul/proxy.hcl", what, err, need)
	}
	return explain(what, err)
}
