package load

import (
	"fmt"
)

// check compares a reply with the request that it must belong to. Error replies
// are not its business.
func (b *builder) check(o op, key uint64, r reply) error {
	switch o {
	case opGet:
		if r.kind != '$' {
			return fmt.Errorf("GET answered with type %q", r.kind)
		}
		return b.checkValue(key, r)
	case opSet:
		if r.kind != '+' || string(r.body) != "OK" {
			return fmt.Errorf("SET answered with type %q", r.kind)
		}
	case opPing:
		if r.kind != '+' || string(r.body) != "PONG" {
			return fmt.Errorf("PING answered with type %q", r.kind)
		}
	case opMGet:
		if r.kind != '*' || r.elements != b.mgetKeys {
			return fmt.Errorf("MGET answered with type %q and %d elements", r.kind, r.elements)
		}
		rest := r.body
		for i := range r.elements {
			n, e, err := frame(rest)
			if err != nil {
				return err
			}
			if e.kind != '$' {
				return fmt.Errorf("MGET with an element of type %q", e.kind)
			}
			if err := b.checkValue(b.mgetKey(key, i), e); err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
	return nil
}

func (b *builder) checkValue(key uint64, r reply) error {
	if r.null {
		return nil
	}
	putKey(b.name[b.prefixBytes:], key)
	return checkVerified(r.body, b.name)
}
