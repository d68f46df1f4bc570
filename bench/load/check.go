package load

import (
	"fmt"
)

// check compares a reply with the request that it must belong to. Error replies
// are not its business.
func (b *builder) check(o op, key uint64, r Reply) error {
	switch o {
	case opGet:
		if r.Kind != '$' {
			return fmt.Errorf("GET answered with type %q", r.Kind)
		}
		return b.checkValue(key, r)
	case opSet:
		if r.Kind != '+' || string(r.Body) != "OK" {
			return fmt.Errorf("SET answered with type %q", r.Kind)
		}
	case opPing:
		if r.Kind != '+' || string(r.Body) != "PONG" {
			return fmt.Errorf("PING answered with type %q", r.Kind)
		}
	case opMGet:
		if r.Kind != '*' || r.Elements != b.mgetKeys {
			return fmt.Errorf("MGET answered with type %q and %d elements", r.Kind, r.Elements)
		}
		rest := r.Body
		for i := range r.Elements {
			n, e, err := Frame(rest)
			if err != nil {
				return err
			}
			if e.Kind != '$' {
				return fmt.Errorf("MGET with an element of type %q", e.Kind)
			}
			if err := b.checkValue(b.mgetKey(key, i), e); err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
	return nil
}

func (b *builder) checkValue(key uint64, r Reply) error {
	if r.Null {
		return nil
	}
	putKey(b.name[b.prefixBytes:], key)
	return checkVerified(r.Body, b.name)
}
