package fakecodis

import (
	"strconv"
	"sync"
)

// pikaIndex are the sets of Pika's database that say which keys a slot and a tag have. Their members are a letter
// for the type and the key. Clients see them as keys of the database, as in Pika.
//
// They are not always true: 3.5 keeps the members of keys that were deleted, and has none for streams; a key that
// changes its type leaves the old member; a key that moved in the background stays in the set of its tag.
type pikaIndex struct {
	p        *pika
	slotSets []string // The name of each slot's set.

	mu sync.Mutex // Held while a key is looked at and its members are set, so that the last writer leaves the truth.
}

func (x *pikaIndex) init(p *pika) {
	x.p = p
	x.slotSets = make([]string, p.s.slots)
	for i := range x.slotSets {
		x.slotSets[i] = "_internal:slotkey:4migrate:" + strconv.Itoa(i)
	}
}

func tagSet(crc uint32) string {
	return "_internal:slottag:4migrate:" + strconv.FormatUint(uint64(crc), 10)
}

// letters are the types as the members of the sets have them.
var letters = map[string]byte{"string": 'k', "hash": 'h', "list": 'l', "set": 's', "zset": 'z', "stream": 'm'}

// letter returns the type of a key, or 0 if there is none.
func (x *pikaIndex) letter(key string) byte {
	db := x.p.s.data.DB(0)
	if !db.Exists(key) {
		return 0
	}
	return letters[db.Type(key)]
}

// update puts a key that was written into the sets, or takes it out if it is gone.
func (x *pikaIndex) update(key string) {
	if x.p.slotmigrate.Load() {
		x.refresh(key, x.letter)
	}
}

// reloadLetter is letter as SLOTSRELOAD has it: the one of streams differs, which makes a second member.
func (x *pikaIndex) reloadLetter(key string) byte {
	letter := x.letter(key)
	if letter == 'm' && x.p.version != Pika35 {
		return 'x'
	}
	return letter
}

func (x *pikaIndex) refresh(key string, letterOf func(string) byte) {
	slot, crc, tagged := slotOf(key, x.p.s.slots)
	db := x.p.s.data.DB(0)
	x.mu.Lock()
	defer x.mu.Unlock()
	letter := letterOf(key)
	switch {
	case letter == 0 && x.p.version != Pika35:
		members := []string{"k" + key, "h" + key, "l" + key, "s" + key, "z" + key, "m" + key}
		_, _ = db.SRem(x.slotSets[slot], members...) // Fails when there is no set.
	case letter == 0 || letter == 'm' && x.p.version == Pika35:
	default:
		member := string(letter) + key
		_, _ = db.SetAdd(x.slotSets[slot], member) // Fails when a client has put something else there.
		if tagged {
			_, _ = db.SetAdd(tagSet(crc), member)
		}
	}
}

// removeSlot takes a member out of the set of its slot only, removeBoth out of both sets.
func (x *pikaIndex) removeSlot(member string) {
	slot, _, _ := slotOf(member[1:], x.p.s.slots)
	x.mu.Lock()
	defer x.mu.Unlock()
	_, _ = x.p.s.data.DB(0).SRem(x.slotSets[slot], member)
}

func (x *pikaIndex) removeBoth(member string) {
	x.removeSlot(member)
	if _, crc, tagged := slotOf(member[1:], x.p.s.slots); tagged {
		x.mu.Lock()
		defer x.mu.Unlock()
		_, _ = x.p.s.data.DB(0).SRem(tagSet(crc), member)
	}
}

// size returns how many members a slot has.
func (x *pikaIndex) size(slot int) int {
	n, _ := x.p.s.data.DB(0).SCard(x.slotSets[slot])
	return n
}

// members returns those of a slot in order.
func (x *pikaIndex) members(slot int) []string {
	m, _ := x.p.s.data.DB(0).Members(x.slotSets[slot])
	return m
}

// ofTag returns the members of a tag in order.
func (x *pikaIndex) ofTag(crc uint32) []string {
	m, _ := x.p.s.data.DB(0).Members(tagSet(crc))
	return m
}
