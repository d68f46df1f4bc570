package router

import (
	"bytes"
	"fmt"
	"hash/crc32"
)

// Slot numbers a share of the key space. Its range depends on the Model: 0..n-1.
type Slot uint16

// ClusterSlots is the number of slots of a Redis Cluster. The protocol fixes it.
const ClusterSlots = 16384

// CodisSlots is the number of slots of a Codis product unless its max_slot_num says otherwise.
const CodisSlots = 1024

// Model says how a key becomes a slot. Immutable.
type Model struct {
	kind  modelKind
	slots uint32
}

type modelKind uint8

const (
	kindCluster modelKind = iota
	kindCodis
)

// ClusterModel hashes like Redis Cluster: CRC-16/XMODEM of the hash tag, modulo 16384
// (Redis cluster specification, "Key distribution model").
func ClusterModel() Model { return Model{kind: kindCluster, slots: ClusterSlots} }

// CodisModel hashes like codis-proxy, codis-server and Pika: CRC-32 (IEEE) of the hash tag, modulo n.
// n must be 1..16384.
func CodisModel(n int) Model {
	if n < 1 || n > ClusterSlots {
		panic(fmt.Sprintf("BUG: codis model with %d slots", n))
	}
	return Model{kind: kindCodis, slots: uint32(n)}
}

// Slots is the number of slots of the model.
func (m Model) Slots() int { return int(m.slots) }

// Cluster reports whether keys hash like Redis Cluster, whose clients and servers refuse commands over
// several slots even when one node owns them all.
func (m Model) Cluster() bool { return m.kind == kindCluster }

// String names the model as the configuration does.
func (m Model) String() string {
	if m.kind == kindCluster {
		return "cluster"
	}
	return "codis"
}

// Slot returns the slot of key. It does not keep key.
func (m Model) Slot(key []byte) Slot {
	if m.kind == kindCluster {
		return Slot(crc16(clusterTag(key)) % ClusterSlots)
	}
	return Slot(crc32.ChecksumIEEE(codisTag(key)) % m.slots)
}

// clusterTag is the hashed part of a key in Redis Cluster: between the first '{' and the first '}' after
// it, unless that is empty.
func clusterTag(key []byte) []byte {
	open := bytes.IndexByte(key, '{')
	if open < 0 {
		return key
	}
	end := bytes.IndexByte(key[open+1:], '}')
	if end <= 0 {
		return key
	}
	return key[open+1 : open+1+end]
}

// codisTag is the same for Codis and Pika, where an empty tag counts: "a{}b" hashes as "".
func codisTag(key []byte) []byte {
	open := bytes.IndexByte(key, '{')
	if open < 0 {
		return key
	}
	end := bytes.IndexByte(key[open+1:], '}')
	if end < 0 {
		return key
	}
	return key[open+1 : open+1+end]
}
