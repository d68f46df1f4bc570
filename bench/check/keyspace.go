package check

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// hash is one own hash with its fields. Owned by its client; no locking.
type hash struct {
	key     string
	watched bool
	fields  []*register
}

// hashFields is the number of fields of an own hash.
const hashFields = 4

// keyspace makes all keys of a run. Used by Start only; the keys then belong to
// their clients.
type keyspace struct {
	cfg   *Config
	rng   *rand.Rand
	run   string // makes the keys that only grow different from those of other runs
	n     [classes + 1]int
	due   float64 // how many watched keys are owed
	share float64 // of the keys that are watched; negative: as they come
	id    int64

	shared   [classes][]*sharedKey
	observed []*observed
	filler   []string
}

var classNames = [classes]string{"val", "cnt", "hsh", "lst", "txt"}

// maxTries bounds the search for a name in a wanted slot. One slot of 16384 takes
// as many tries on average.
const maxTries = 1 << 20

func newKeyspace(cfg *Config) *keyspace {
	return &keyspace{
		cfg:   cfg,
		rng:   rand.New(rand.NewPCG(cfg.Seed, 0)),
		run:   fmt.Sprintf("%x", time.Now().UnixNano()),
		share: cfg.WatchShare,
	}
}

// subject is the changing part of a name: with capitals or without.
func (k *keyspace) subject(n int, capitals bool) string {
	if capitals {
		return fmt.Sprintf("User:Name%d", n)
	}
	return fmt.Sprintf("user:%d", n)
}

// find makes a name with format, which has one verb for the subject, that is
// watched or not as the share asks for.
func (k *keyspace) find(c class, format string) (name string, watched bool, err error) {
	want, any := false, k.share < 0
	if !any {
		if k.due += k.share; k.due >= 1-1e-9 {
			k.due--
			want = true
		}
	}
	capitals := k.rng.IntN(2) == 0
	for range maxTries {
		k.n[c]++
		name = fmt.Sprintf(format, k.subject(k.n[c], capitals))
		watched = k.cfg.Watch != nil && k.cfg.Watch([]byte(name))
		if any || watched == want {
			return name, watched, nil
		}
	}
	return "", false, fmt.Errorf("no key %s with watched = %t in %d tries: check the watched slots", format, want, maxTries)
}

// wheel is the order in which a client's keys take their class, so that few keys
// have every class, too.
func (k *keyspace) wheel() []class {
	weights := [classes]int{8, 6, 4, 1, 1}
	var out []class
	for left := true; left; {
		left = false
		for c := range classes {
			if weights[c] > 0 && k.cfg.Mix.uses(c) {
				weights[c]--
				out = append(out, c)
				left = true
			}
		}
		if !k.cfg.Mix.uses(classHash) && !k.cfg.Mix.uses(classList) && !k.cfg.Mix.uses(classText) {
			break // Only values and counters: half and half.
		}
	}
	return out
}

// fill gives every client its keys.
func (k *keyspace) fill(clients []*client) error {
	wheel := k.wheel()
	perClient := max(k.cfg.Keys/len(clients), int(classes))
	for j := range perClient {
		for _, c := range clients {
			if err := k.give(c, wheel[j%len(wheel)]); err != nil {
				return err
			}
		}
	}
	if k.cfg.SharedPercent > 0 {
		for _, c := range []class{classValue, classCounter, classList, classText} {
			for range k.cfg.SharedKeys {
				stem, watched, err := k.find(c, k.cfg.Prefix+":shared:{"+classNames[c]+":%s}:"+k.run)
				if err != nil {
					return err
				}
				k.shared[c] = append(k.shared[c], &sharedKey{class: c, stem: stem, watched: watched})
			}
		}
	}
	if err := k.fillObserved(len(clients)); err != nil {
		return err
	}
	for range k.cfg.Filler {
		name, err := k.findFiller()
		if err != nil {
			return err
		}
		k.filler = append(k.filler, name)
	}
	return nil
}

func (k *keyspace) findFiller() (string, error) {
	for range maxTries {
		k.n[classes]++
		name := fmt.Sprintf("%s:fil:%d", k.cfg.Prefix, k.n[classes])
		if k.cfg.Watch == nil || k.cfg.Watch([]byte(name)) {
			return name, nil
		}
	}
	return "", fmt.Errorf("no filler key in a watched slot in %d tries", maxTries)
}

// give makes one key of a class for client c.
func (k *keyspace) give(c *client, class class) error {
	k.id++
	tag := fmt.Sprintf("c%dk%d", c.id, k.id)
	stem := k.cfg.Prefix + ":" + classNames[class] + ":"
	if k.cfg.Consistency != Linearizable {
		stem += k.run + ":" // What an earlier run has left must not be read for this one's.
	}
	loaded := k.rng.IntN(10) != 0
	switch class {
	case classValue:
		return k.giveValue(c, stem, tag, loaded)
	case classCounter:
		key, watched, err := k.find(class, stem+"%s")
		if err != nil {
			return err
		}
		counter := &counter{key: key, watched: watched, loaded: loaded, undone: k.cfg.Undone}
		if loaded {
			counter.start = k.id * counterSpan
			counter.base = counter.start
		}
		if k.cfg.dates() {
			counter.track = newTrack(k.cfg.Window, loaded)
		}
		c.counters = append(c.counters, counter)
	case classHash:
		key, watched, err := k.find(class, stem+"%s")
		if err != nil {
			return err
		}
		h := &hash{key: key, watched: watched}
		for f := range hashFields {
			r := &register{key: key, field: fmt.Sprintf("Field%d", f), watched: watched, tag: fmt.Sprintf("%sf%d", tag, f)}
			if k.cfg.dates() {
				r.track = newTrack(k.cfg.Window, false)
			}
			h.fields = append(h.fields, r)
		}
		c.hashes = append(c.hashes, h)
	case classList, classText:
		stem, watched, err := k.find(class, stem+"{%s}:"+k.run)
		if err != nil {
			return err
		}
		l := &list{key: stem + ":0", stem: stem, watched: watched, text: class == classText, tag: tag}
		if l.text {
			c.texts = append(c.texts, l)
		} else {
			c.lists = append(c.lists, l)
		}
	case classes:
	}
	return nil
}

func (k *keyspace) giveValue(c *client, stem, tag string, loaded bool) error {
	var key string
	var watched bool
	group := len(c.groups) - 1
	if k.cfg.TagGroup > 1 && group >= 0 && len(c.groups[group]) < k.cfg.TagGroup {
		first := c.groups[group][0]
		key = fmt.Sprintf("%s:%d", strings.TrimSuffix(first.key, ":0"), len(c.groups[group]))
		watched = first.watched
	} else {
		format := stem + "%s"
		if k.cfg.TagGroup > 1 {
			format = stem + "{%s}:0"
		}
		var err error
		if key, watched, err = k.find(classValue, format); err != nil {
			return err
		}
		c.groups = append(c.groups, nil)
		group++
	}
	r := &register{key: key, watched: watched, tag: tag}
	if pad := k.cfg.ValueBytes - len(tag) - 2; pad > 0 {
		r.pad = ":" + strings.Repeat("x", pad)
	}
	if loaded {
		r.wrote(r.next())
	}
	if k.cfg.dates() {
		r.track = newTrack(k.cfg.Window, loaded)
	}
	c.groups[group] = append(c.groups[group], r)
	c.values = append(c.values, r)
	return nil
}
