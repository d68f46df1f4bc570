package merge

import (
	"slices"
	"strings"

	"sluice/proxy/resp"
)

// Parameters joins what servers answer to CONFIG GET; addrs are theirs, in the order of replies. Where they do not
// agree the name has the value of the first server that shows it, and a pair "name@address" for each of them follows:
// a client that looks for the name finds a value, and whoever reads the reply sees that there are several. What keep
// refuses is left out.
func Parameters(replies [][]byte, addrs []string, keep func(name string) bool) (found map[string]string, bad int) {
	all := make(map[string][]string) // by name: the values, by server
	for i, r := range replies {
		shown, ok := parametersIn(r)
		if !ok {
			return nil, i
		}
		for name, value := range shown {
			if !keep(name) {
				continue
			}
			if all[name] == nil {
				all[name] = slices.Repeat([]string{absent}, len(replies))
			}
			all[name][i] = value
		}
	}
	found = make(map[string]string)
	for name, values := range all {
		found[name] = oneOf(name, values)
		if same(values) {
			continue
		}
		for i, value := range values {
			if value != absent {
				found[name+"@"+addrs[i]] = value
			}
		}
	}
	return found, none
}

// absent stands for the value of a parameter that a server does not have; no parameter has it.
const absent = "\x00absent"

// oneOf is the value to show for several servers. Of the events that they notify about it is what all have: a client
// looks whether those that it needs are among them, and else sets them, at all servers.
func oneOf(name string, values []string) string {
	if strings.EqualFold(name, "notify-keyspace-events") && !slices.Contains(values, absent) {
		return commonEvents(values)
	}
	return values[slices.IndexFunc(values, func(v string) bool { return v != absent })]
}

func same(values []string) bool {
	return !slices.ContainsFunc(values, func(v string) bool { return v != values[0] })
}

// eventsOfA are the flags of notify-keyspace-events that "A" stands for (redis 7.0, src/notify.c).
const eventsOfA = "g$lshzxetd"

// commonEvents are the flags that all values have.
func commonEvents(values []string) string {
	common := values[0]
	if same(values) {
		return common
	}
	common = strings.ReplaceAll(common, "A", eventsOfA)
	for _, v := range values {
		v = strings.ReplaceAll(v, "A", eventsOfA)
		common = strings.Map(func(r rune) rune {
			if !strings.ContainsRune(v, r) {
				return -1
			}
			return r
		}, common)
	}
	return common
}

// parametersIn reads a reply of CONFIG GET.
func parametersIn(reply []byte) (map[string]string, bool) {
	n, rest, ok := resp.CutHeader(reply, '%')
	if !ok {
		n, rest, ok = resp.CutHeader(reply, '*')
		ok = ok && n%2 == 0
		n /= 2
	}
	if !ok {
		return nil, false
	}
	shown := make(map[string]string)
	for range n {
		var name, value []byte
		if name, rest, ok = resp.CutBulk(rest); ok {
			value, rest, ok = resp.CutBulk(rest)
		}
		if !ok {
			return nil, false
		}
		shown[string(name)] = string(value)
	}
	return shown, true
}
