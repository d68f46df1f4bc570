package local

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// CONFIG, as far as it can be answered without the servers: which parameters are Sluice's own, what is asked for, and
// the words of refusals.

// Params are all that are Sluice's own.
type Params[T any] []Param[T]

// Named finds one by its name in any case, nil when there is none.
func (l Params[T]) Named(name string) *Param[T] {
	i := slices.IndexFunc(l, func(p Param[T]) bool { return strings.EqualFold(p.Name, name) })
	if i < 0 {
		return nil
	}
	return &l[i]
}

// ownPrefixes begin the names of parameters that only Sluice has.
var ownPrefixes = []string{"proxy.", "hold.", "backend."}

// Owns reports whether a name or a pattern is about parameters of Sluice alone.
func (l Params[T]) Owns(name []byte) bool {
	return l.Named(string(name)) != nil || slices.ContainsFunc(ownPrefixes, func(prefix string) bool {
		return len(name) >= len(prefix) && strings.EqualFold(string(name[:len(prefix)]), prefix)
	})
}

// Matching are the values of those that names or patterns ask for, by the name to answer: that of an exact question is
// as it was asked.
func (l Params[T]) Matching(in *T, names [][]byte) map[string]string {
	found := make(map[string]string)
	shown := make(map[string]bool) // by the name of the parameter
	for _, arg := range names {
		if p := l.Named(string(arg)); p != nil {
			if !shown[p.Name] {
				found[string(arg)] = p.Get(in)
			}
			shown[p.Name] = true
			continue
		}
		for i := range l {
			if p := &l[i]; !shown[p.Name] && command.MatchName(arg, p.Name) {
				found[p.Name] = p.Get(in)
				shown[p.Name] = true
			}
		}
	}
	return found
}

// ToSet finds the parameters of pairs of names and values, or says why they are not set.
func (l Params[T]) ToSet(pairs [][]byte) (params []*Param[T], refusal string) {
	for i := 0; i < len(pairs); i += 2 {
		name := string(pairs[i])
		p := l.Named(name)
		switch {
		case p == nil:
			return nil, UnknownParameter(name)
		case p.Set == nil:
			return nil, SetFailed(name, "can't set immutable config")
		case slices.Contains(params, p):
			return nil, SetFailed(name, "duplicate parameter")
		}
		params = append(params, p)
	}
	return params, ""
}

// SetAll puts the values of pairs in, whose parameters are params, or says which is wrong; then in is of no use any
// more.
func SetAll[T any](in *T, params []*Param[T], pairs [][]byte) (refusal string) {
	for i, p := range params {
		if wrong := p.Set(in, string(pairs[2*i+1])); wrong != "" {
			return SetFailed(string(pairs[2*i]), wrong)
		}
	}
	return ""
}

// SetFailed is the error for a value that is not taken.
func SetFailed(name, wrong string) string {
	return fmt.Sprintf("ERR CONFIG SET failed (possibly related to argument '%s') - %s", name, wrong)
}

// UnknownParameter is the error for a name that nobody knows.
func UnknownParameter(name string) string {
	return fmt.Sprintf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", name)
}

// Pairs writes names and values for the log. None of the parameters that may be set is a secret.
func Pairs(pairs [][]byte) string {
	var list []string
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, string(pairs[i])+"="+string(pairs[i+1]))
	}
	return strings.Join(list, " ")
}

// AppendParameters answers CONFIG GET, in the order of the names.
func AppendParameters(dst []byte, found map[string]string, resp3 bool) []byte {
	dst = resp.AppendMap(dst, len(found), resp3)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		dst = resp.AppendBulk(resp.AppendBulk(dst, name), found[name])
	}
	return dst
}

func configRewrite(dst []byte, _ Client, _ [][]byte) []byte {
	return resp.AppendError(dst, "ERR CONFIG REWRITE is not supported through Sluice: the configuration file of Sluice "+
		"is the operator's; what CONFIG SET has set lasts until the next reload")
}
