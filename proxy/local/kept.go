package local

import (
	"slices"
	"strings"
	"sync"
)

// Parameter is a parameter of the servers, as a client has set it.
type Parameter struct{ Name, Value string }

// Kept are the parameters that clients have set at all masters, the one that was set last at the end. Safe for
// concurrent use: loops come here for each CONFIG SET.
type Kept struct {
	mu      sync.Mutex // guards the fields below it
	list    []Parameter
	version uint64 // grows when list may have to be brought to servers
}

// Set notes pairs of names and values that all masters have taken.
func (p *Kept) Set(pairs [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := 0; i < len(pairs); i += 2 {
		name := strings.ToLower(string(pairs[i]))
		p.list = slices.DeleteFunc(slices.Clone(p.list), func(o Parameter) bool { return o.Name == name })
		p.list = append(p.list, Parameter{name, string(pairs[i+1])})
	}
	p.version++
}

// Doubt notes that some masters may have another value than the one that is kept.
func (p *Kept) Doubt() {
	p.mu.Lock()
	p.version++
	p.mu.Unlock()
}

// List is all of them, not to be changed. The version is another one whenever they have to be compared with the
// servers.
func (p *Kept) List() (list []Parameter, version uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list, p.version
}

// Adopt takes over what somebody else has set at the masters. It does nothing when clients have set something since
// version.
func (p *Kept) Adopt(name, value string, version uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.list, func(o Parameter) bool { return o.Name == name })
	if i < 0 || p.version != version {
		return
	}
	p.list = slices.Clone(p.list)
	p.list[i].Value = value
}
