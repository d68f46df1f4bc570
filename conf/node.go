package conf

import (
	"encoding"
	"fmt"
	"strconv"
	"strings"
)

// heaviest is the greatest share of a node; a thousand times the usual one is finer than any load
// can be measured.
const heaviest = 1000

// Weight is the share that a node has in the reads, beside the others that may be read. A replica
// that is not named has 1. The master that is not named has none with ReadPreferReplica and 1 with
// ReadNearest.
type Weight struct {
	Address string // host:port as it was written; Reads.Weight compares it
	Share   int    // from 0, which is never read, to 1000
}

// NodeZone is the zone that a node is in.
type NodeZone struct {
	Address string // host:port as it was written; Group.Zone compares it
	Zone    string
}

var (
	_ encoding.TextUnmarshaler = (*Weight)(nil)
	_ encoding.TextMarshaler   = Weight{}
	_ encoding.TextUnmarshaler = (*NodeZone)(nil)
	_ encoding.TextMarshaler   = NodeZone{}
)

// ParseWeight reads "10.0.0.5:6379=2".
func ParseWeight(text string) (Weight, error) {
	address, number, err := cutNode(text, "weight", "2")
	if err != nil {
		return Weight{}, err
	}
	share, err := strconv.ParseUint(number, 10, 32)
	if err != nil || share > heaviest {
		return Weight{}, &badValue{
			fmt.Sprintf("weight %s of %s is not a whole number from 0 to %d", quote(number), quote(address), heaviest),
			"0 is never read, 1 is the share of a node that is not named",
		}
	}
	return Weight{address, int(share)}, nil
}

// ParseNodeZone reads "10.0.0.5:6379=eu-1a".
func ParseNodeZone(text string) (NodeZone, error) {
	address, zone, err := cutNode(text, "zone", "eu-1a")
	if err != nil {
		return NodeZone{}, err
	}
	if bad := badZone(zone); bad != nil {
		return NodeZone{}, bad
	}
	return NodeZone{address, zone}, nil
}

// cutNode splits "host:port=value". The messages call the value what, and show the example.
func cutNode(text, what, example string) (address, value string, err error) {
	address, value, found := strings.Cut(text, "=")
	if !found || value == "" {
		shown := address
		if _, err := parseHostPort(address, forConnecting); err != nil {
			shown = "10.0.0.5:6379"
		}
		return "", "", &badValue{quote(text) + " has no " + what, "write the address and the " + what + ": " + quote(shown+"="+example)}
	}
	if _, err := parseHostPort(address, forConnecting); err != nil {
		return "", "", err
	}
	return address, value, nil
}

// badZone says why text is not the name of a zone; nil when it is one.
func badZone(text string) *badValue {
	if isName(strings.ReplaceAll(text, ".", "-")) {
		return nil
	}
	return &badValue{quote(text) + " is not a zone", fmt.Sprintf("up to %d letters, digits, dots, hyphens and underscores", longestName)}
}

// String returns the text that ParseWeight reads.
func (w Weight) String() string { return w.Address + "=" + strconv.Itoa(w.Share) }

// MarshalText returns String.
func (w Weight) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText is ParseWeight.
func (w *Weight) UnmarshalText(text []byte) error {
	v, err := ParseWeight(string(text))
	if err == nil {
		*w = v
	}
	return err
}

// String returns the text that ParseNodeZone reads.
func (z NodeZone) String() string { return z.Address + "=" + z.Zone }

// MarshalText returns String.
func (z NodeZone) MarshalText() ([]byte, error) { return []byte(z.String()), nil }

// UnmarshalText is ParseNodeZone.
func (z *NodeZone) UnmarshalText(text []byte) error {
	v, err := ParseNodeZone(string(text))
	if err == nil {
		*z = v
	}
	return err
}

// Weight returns the share that is given for a node, and whether one is.
func (r Reads) Weight(address string) (share int, given bool) {
	for _, w := range r.Weights {
		if sameNode(w.Address, address) {
			return w.Share, true
		}
	}
	return 0, false
}

// Zone returns the zone that is given for a node; "" when none is.
func (g Group) Zone(address string) string {
	for _, z := range g.Zones {
		if sameNode(z.Address, address) {
			return z.Zone
		}
	}
	return ""
}

// sameNode reports whether two addresses are one, also when they are written differently.
func sameNode(a, b string) bool {
	x, errX := parseHostPort(a, forConnecting)
	y, errY := parseHostPort(b, forConnecting)
	return errX == nil && errY == nil && x == y
}
