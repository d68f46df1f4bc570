package consul

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"sluice/router"
)

// Below the root of a pool ("sluice/<pool>/"):
//
//	format            how keys become slots; written once
//	topology/epoch    number and digest of the two below: the only key that proxies wait for
//	topology/groups   groups and, unless they come from the catalog, their nodes
//	topology/slots    which group has which slots, and what is on the move
//
// The three of topology/ are written in one transaction and read with one List, so nobody sees a mix of two epochs. The
// digest tells it when somebody has edited one of them by hand.
const (
	keyFormat   = "format"
	keyTopology = "topology/"
	keyEpoch    = keyTopology + "epoch"
	keyGroups   = keyTopology + "groups"
	keySlots    = keyTopology + "slots"
)

const formatVersion = 1

// The names of the hash functions in Format.
const (
	hashCodis   = "crc32"
	hashCluster = "crc16"
)

// Document is the topology of a pool as the KV store has it.
type Document struct {
	Format Format
	Epoch  Epoch
	Groups []Group
	Slots  []SlotRange
}

// Format says how keys become slots. It never changes in the life of a pool.
type Format struct {
	Version int    `json:"version"`
	Slots   int    `json:"slots"`
	Hash    string `json:"hash"` // "crc32": Codis, "crc16": Redis Cluster
}

// Epoch numbers a topology.
type Epoch struct {
	Epoch   uint64 `json:"epoch"`
	Change  string `json:"change,omitempty"` // what is new, for people
	Barrier bool   `json:"barrier"`          // somebody waits for the acknowledgements of all proxies
	Digest  string `json:"digest"`           // of groups and slots as they are stored
}

// Group is a master and its replicas.
type Group struct {
	ID    string `json:"id"`
	Nodes []Node `json:"nodes,omitempty"` // none: they come from the catalog
}

// Node is a server of a group; who is the master, the nodes say themselves.
type Node struct {
	Addr string `json:"addr"` // host:port
	Zone string `json:"zone,omitempty"`
}

// SlotRange is slots that are in one state.
type SlotRange struct {
	Slots  string `json:"slots"` // "0-99,200"
	Group  string `json:"group"`
	State  string `json:"state"`
	To     string `json:"to,omitempty"`
	Method string `json:"method,omitempty"`
	Token  uint64 `json:"token,omitempty"` // fencing token of a move, see Assignment
}

// Assignment is what the range says of each of its slots.
func (s SlotRange) Assignment() Assignment {
	return Assignment{Group: s.Group, State: s.State, To: s.To, Method: s.Method, Token: s.Token}
}

var (
	// ErrNoTopology is returned by ReadDocument when there is nothing below the root.
	ErrNoTopology = errors.New("there is no topology; `sluice ctl topology init` makes one")
	// ErrConflict is returned by WriteDocument when somebody else has written since, or a fence has not held.
	ErrConflict = errors.New("somebody else has changed the topology since it was read")
)

// FormatOf is the format of a pool with that model.
func FormatOf(model router.Model) Format {
	f := Format{Version: formatVersion, Slots: model.Slots(), Hash: hashCodis}
	if model.Cluster() {
		f.Hash = hashCluster
	}
	return f
}

// Model is the opposite of FormatOf.
func (f Format) Model() (router.Model, error) {
	switch {
	case f.Version != formatVersion:
		return router.Model{}, fmt.Errorf("format version %d is not known here, only %d", f.Version, formatVersion)
	case f.Hash == hashCodis && f.Slots >= 1 && f.Slots <= router.ClusterSlots:
		return router.CodisModel(f.Slots), nil
	case f.Hash == hashCluster && f.Slots == router.ClusterSlots:
		return router.ClusterModel(), nil
	}
	return router.Model{}, fmt.Errorf("format with hash %q and %d slots is not known here", f.Hash, f.Slots)
}

// Digest is what Epoch.Digest has to be for these values of topology/groups and topology/slots.
func Digest(groups, slots []byte) string {
	h := sha256.New()
	h.Write(groups)
	h.Write([]byte{0})
	h.Write(slots)
	return hex.EncodeToString(h.Sum(nil))
}

// ReadDocument reads the topology below root, at one moment, from the leader. index is what WriteDocument asks for:
// 0 when there is no topology, and right also when what is there makes no sense, so that it can be replaced.
func ReadDocument(ctx context.Context, kv *api.KV, root string) (d *Document, index uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, firstWait)
	defer cancel()
	opts := (&api.QueryOptions{}).WithContext(ctx)
	format, _, err := kv.Get(root+keyFormat, opts)
	if err != nil {
		return nil, 0, explain("read "+root+keyFormat, err)
	}
	pairs, _, err := kv.List(root+keyTopology, opts)
	if err != nil {
		return nil, 0, explain("list "+root+keyTopology, err)
	}
	if format != nil {
		pairs = append(pairs, format)
	}
	return DocumentOf(root, pairs)
}

// DocumentOf makes the topology below root of its keys, which were read at one moment; others do not matter. index is
// that of ReadDocument.
func DocumentOf(root string, pairs api.KVPairs) (d *Document, index uint64, err error) {
	values := make(map[string][]byte)
	for _, p := range pairs {
		values[strings.TrimPrefix(p.Key, root)] = p.Value
		if p.Key == root+keyEpoch {
			index = p.ModifyIndex
		}
	}
	d, err = decode(values)
	if errors.Is(err, ErrNoTopology) {
		// A token without key_prefix read on it sees an empty list, not an error.
		err = fmt.Errorf("%w (or the token may not read it)", err)
	}
	if err != nil {
		return nil, index, contentError{fmt.Errorf("consul: %s: %w", root, err)}
	}
	return d, index, nil
}

// contentError says that Consul has answered, and that what it has makes no sense.
type contentError struct{ error }

func (e contentError) Unwrap() error { return e.error }

// IsContent reports whether an error of ReadDocument is about what Consul has, not about reaching it: writing mends it.
func IsContent(err error) bool { return errors.As(err, new(contentError)) }

// decode makes a Document of the values of the keys below the root.
func decode(values map[string][]byte) (*Document, error) {
	d := new(Document)
	var errs []error
	missing := 0
	for _, part := range []struct {
		key  string
		into any
	}{{keyFormat, &d.Format}, {keyEpoch, &d.Epoch}, {keyGroups, &d.Groups}, {keySlots, &d.Slots}} {
		value, ok := values[part.key]
		if !ok || len(value) == 0 {
			missing++
			errs = append(errs, fmt.Errorf("%s is missing or empty", part.key))
			continue
		}
		if err := json.Unmarshal(value, part.into); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", part.key, err))
		}
	}
	_, formatted := values[keyFormat]
	if missing == 4 || missing == 3 && formatted {
		return nil, ErrNoTopology
	}
	if want := Digest(values[keyGroups], values[keySlots]); len(errs) == 0 && d.Epoch.Digest != want {
		errs = append(errs, fmt.Errorf("the digest of epoch %d is not that of groups and slots: one of them was written without the others", d.Epoch.Epoch))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return d, nil
}
