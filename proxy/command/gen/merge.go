package main

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// merge joins what Redis and Valkey state about the commands that they have
// besides the old ones. A command that both have is one: a client means the same
// by it, and the proxy does not know which of them it will reach. So it gets what
// either of them states, all flags, categories, tips and uses of keys: rights
// are asked for what one of the two does, and what one calls a write is one.
// Where no union is possible (arity, group, where keys are) they have to agree.
func merge(old, redis, valkey []fact) ([]fact, error) {
	var out []fact
	for _, f := range redis {
		at := slices.IndexFunc(valkey, func(v fact) bool { return v.fullName() == f.fullName() })
		if at >= 0 {
			joined, err := join(f, valkey[at])
			if err != nil {
				return nil, fmt.Errorf("merge %s: %w", f.fullName(), err)
			}
			f = joined
		}
		out = append(out, f)
	}
	had := namesOf(redis)
	for _, v := range valkey {
		if !had[v.fullName()] {
			v.valkey, v.onlyValkey = v.Since, true
			out = append(out, v)
		}
	}
	sortByName(out)
	return out, checkNames(slices.Concat(old, out))
}

// join makes one command of two.
func join(redis, valkey fact) (fact, error) {
	out := redis
	out.valkey = valkey.Since
	out.Flags = either(redis.Flags, valkey.Flags)
	out.ACL = either(redis.ACL, valkey.ACL)
	out.Tips = either(redis.Tips, valkey.Tips)
	out.DocFlags = either(redis.DocFlags, valkey.DocFlags)
	switch {
	case redis.Arity != valkey.Arity:
		return fact{}, fmt.Errorf("arity %d in Redis and %d in Valkey", redis.Arity, valkey.Arity)
	case redis.Group != valkey.Group:
		return fact{}, fmt.Errorf("group %s in Redis and %s in Valkey", redis.Group, valkey.Group)
	case slices.Contains(out.Flags, "WRITE") && slices.Contains(out.Flags, "READONLY"):
		return fact{}, errors.New("one of them writes and the other only reads")
	case len(redis.Keys) != len(valkey.Keys):
		return fact{}, errors.New("keys in different places")
	}
	out.Keys = slices.Clone(redis.Keys)
	for i := range out.Keys {
		a, b := &out.Keys[i], &valkey.Keys[i]
		if !reflect.DeepEqual(a.Begin, b.Begin) || !reflect.DeepEqual(a.Find, b.Find) {
			return fact{}, errors.New("keys in different places")
		}
		a.Flags = uses(a.Flags, b.Flags)
	}
	return out, nil
}

// either returns the words of both.
func either(a, b []string) []string {
	out := slices.Clone(a)
	for _, word := range b {
		if !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out
}

// strength orders the key flags that exclude each other: the strongest holds. The
// others keep their order behind it.
var strength = map[string]int{"RW": 4, "OW": 3, "RM": 2, "RO": 1}

// uses joins the key flags of a spec.
func uses(a, b []string) []string {
	all := either(a, b)
	slices.SortStableFunc(all, func(x, y string) int { return cmp.Compare(strength[y], strength[x]) })
	kept := 0
	return slices.DeleteFunc(all, func(word string) bool {
		if strength[word] == 0 {
			return false
		}
		kept++
		return kept > 1
	})
}
