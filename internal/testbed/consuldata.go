package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// What happens to the data of a Consul server: it comes back, it is lost, an older state replaces it, or nobody leads.

// Restart starts the server again on its ports with its data, after killing it if it runs, and returns when it leads.
func (c *ConsulServer) Restart() error {
	return c.restart(c.leads, func() error {
		if !c.leaderless {
			return nil
		}
		if err := c.writePeers(c.self()); err != nil {
			return err
		}
		c.leaderless = false
		return nil
	})
}

// RestartEmpty is Restart without the data: indexes begin again at 1, and nobody has a session any more.
func (c *ConsulServer) RestartEmpty() error {
	return c.restart(c.leads, func() error {
		c.leaderless = false
		return os.RemoveAll(c.dataDir())
	})
}

// RestartWithoutLeader starts the server again with its data and no leader. What lies in the catalog, in KV or in
// sessions is neither read nor written: a request waits rpc_hold_timeout (1 s here, 7 s by default) and fails with status
// 500 and "No cluster leader". That is so with ?stale too, which Consul serves only when it has heard from a leader since
// its start. It lasts until Restart or RestartEmpty.
//
// The server is made to believe in a second one that never comes, by the file with which Consul is repaired after a loss
// of servers. Starting it with bootstrap_expect = 2 does not do: where there is data, it is ignored.
func (c *ConsulServer) RestartWithoutLeader() error {
	if c.opts.InMemory {
		return errors.New("a consul in memory has no list of servers to change: start it without InMemory")
	}
	return c.restart(c.answers, func() error {
		c.leaderless = true
		// Nobody listens on port 1.
		return c.writePeers(c.self(), consulPeer{ID: newUUID(), Address: "127.0.0.1:1"})
	})
}

// Snapshot returns the whole state of the server, ACLs, sessions and indexes included. Owned by the caller.
func (c *ConsulServer) Snapshot() ([]byte, error) {
	return c.snapshot(http.MethodGet, nil)
}

// Restore goes back to a snapshot, which may be another server's, and returns when the server leads with it. Watchers
// see the index go backwards.
func (c *ConsulServer) Restore(snapshot []byte) error {
	if _, err := c.snapshot(http.MethodPut, snapshot); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return poll(ctx, func() error { return c.leads(ctx) })
}

func (c *ConsulServer) snapshot(method string, body []byte) ([]byte, error) {
	status, answer, err := c.do(context.Background(), method, "/v1/snapshot", body)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s /v1/snapshot: status %d: %s", method, status, answer)
	}
	return answer, err
}

// restart kills the server, lets change work on its files and starts it.
func (c *ConsulServer) restart(ready func(context.Context) error, change func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.kill(); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return c.start(ctx, ready)
}

// consulPeer is a server in raft/peers.json.
type consulPeer struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	NonVoter bool   `json:"non_voter"`
}

func (c *ConsulServer) self() consulPeer {
	return consulPeer{ID: c.nodeID, Address: fmt.Sprintf("127.0.0.1:%d", c.ports.rpc)}
}

// writePeers makes peers the voters from the next start on.
func (c *ConsulServer) writePeers(peers ...consulPeer) error {
	body, err := json.Marshal(peers)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dataDir(), "raft", "peers.json"), body, 0o600)
}
