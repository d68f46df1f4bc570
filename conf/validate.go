package conf

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Validate checks a configuration, also one that was built in code. The error is of type Problems
// and holds everything that is wrong; problems of a configuration that came from a file carry their
// lines. Load, LoadWith, Parse and ParseWith have validated what they return.
func (c *Config) Validate() error {
	r := newReport(c)
	validate(r)
	return r.err()
}

// validate adds what is wrong with the values of a configuration whose types are right.
func validate(r *report) {
	c := r.cfg
	checkBounds(r, "proxy", reflect.ValueOf(c.Proxy))
	checkProxy(r, &c.Proxy)
	checkBounds(r, "consul", reflect.ValueOf(c.Consul))
	checkConsul(r, &c.Consul)
	if len(c.Pools) == 0 && !r.isBad("pool") {
		r.add("pool", "there is no pool",
			"add [[pool]] with name, listen, slot_model and its groups; `sluice config default` prints an example")
	}
	for i := range c.Pools {
		checkPool(r, element("pool", i), &c.Pools[i])
	}
	checkPoolNames(r)
	checkListeners(r)
}

func checkProxy(r *report, p *Proxy) {
	if p.Admin != "" {
		checkAddress(r, "proxy.admin", p.Admin, forListening)
	}
	for i, name := range p.AdminHosts {
		at := element("proxy.admin_hosts", i)
		if _, err := parseHostPort(name+":1", forConnecting); (err != nil || name == "" || strings.Contains(name, ":")) && !r.isBad(at) {
			r.add(at, quote(name)+" is not the name of a host", `write it without a port, such as "sluice.example.com"`)
		}
	}
	checkOneOf(r, "proxy.log_level", p.LogLevel, LogDebug, LogInfo, LogWarn, LogError)
	checkOneOf(r, "proxy.log_format", p.LogFormat, LogText, LogJSON, LogAuto)

	const unparsed, bulk = "proxy.limits.max_unparsed", "proxy.limits.max_bulk"
	if l := &p.Limits; l.MaxUnparsed <= l.MaxBulk && !r.isBad(unparsed) && !r.isBad(bulk) {
		at := unparsed
		if !r.cfg.given(unparsed) && r.cfg.given(bulk) {
			at = bulk
		}
		r.add(at, fmt.Sprintf("max_unparsed %v leaves no room for an argument of max_bulk %v", l.MaxUnparsed, l.MaxBulk),
			"a client that sends one would be closed; make max_unparsed the greater one")
	}
}

// checkBounds compares every number, size and duration in the table at path with the min and max of
// its tags. Lists of tables are left to the caller.
func checkBounds(r *report, path string, v reflect.Value) {
	for i := range v.NumField() {
		f, field := v.Type().Field(i), v.Field(i)
		at := join(path, keyOf(f))
		if isTable(f.Type) {
			checkBounds(r, at, field)
			continue
		}
		if f.Tag.Get("min") == "" || r.isBad(at) {
			continue
		}
		if field.Kind() == reflect.Pointer {
			if field.IsNil() {
				continue
			}
			field = field.Elem()
		}
		low, high := bound(f, "min"), bound(f, "max")
		if n := field.Int(); n >= low.Int() && n <= high.Int() {
			continue
		}
		r.add(at, fmt.Sprintf("%v is out of range", field.Interface()),
			fmt.Sprintf("from %v to %v", low.Interface(), high.Interface()))
	}
}

// bound returns the value of a min or max tag in the type of the field, or of what it points to.
func bound(f reflect.StructField, tag string) reflect.Value {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	v := reflect.New(t).Elem()
	if bad := setText(v, f.Tag.Get(tag)); bad != nil {
		panic("BUG: conf: " + tag + " of " + f.Name + ": " + bad.msg)
	}
	return v
}

// checkOneOf checks a value that is one of a few words.
func checkOneOf[T ~string](r *report, path string, got T, allowed ...T) {
	if slices.Contains(allowed, got) || r.isBad(path) {
		return
	}
	words := make([]string, len(allowed))
	for i, w := range allowed {
		words[i] = string(w)
	}
	hint := `one of "` + strings.Join(words, `", "`) + `"`
	if near := nearest(string(got), words); near != "" {
		hint = "did you mean " + quote(near) + "?"
	}
	r.add(path, quote(string(got))+" is not known", hint)
}

// checkAddress checks host:port and returns it in the form that compares.
func checkAddress(r *report, path, text string, p purpose) (hostPort, bool) {
	if r.isBad(path) {
		return hostPort{}, false
	}
	a, err := parseHostPort(text, p)
	if bad := asBad(err); bad != nil {
		r.add(path, bad.msg, bad.hint)
		return hostPort{}, false
	}
	return a, true
}

func checkPoolNames(r *report) {
	first := map[string]int{}
	for i, p := range r.cfg.Pools {
		at := join(element("pool", i), "name")
		if p.Name == "" || r.isBad(at) {
			continue
		}
		if j, ok := first[p.Name]; ok {
			r.add(at, "another pool has this name"+r.line(join(element("pool", j), "name")), "rename one of the two")
			continue
		}
		first[p.Name] = i
	}
}

// listener is an address that the process opens.
type listener struct {
	path string
	what string // for messages: "pool main", "proxy.admin"
	addr Listen
	tcp  hostPort
}

// listeners returns the valid listen addresses of the admin server and of all pools.
func listeners(r *report) []listener {
	var out []listener
	if a, err := parseHostPort(r.cfg.Proxy.Admin, forListening); err == nil {
		out = append(out, listener{"proxy.admin", "proxy.admin", Listen{Network: "tcp", Address: r.cfg.Proxy.Admin}, a})
	}
	for i, p := range r.cfg.Pools {
		at := element("pool", i)
		for j, l := range p.Listen {
			path := element(join(at, "listen"), j)
			if r.isBad(path) {
				continue
			}
			found := listener{path: path, what: r.cfg.label(at), addr: l}
			if l.Network == "tcp" {
				found.tcp, _ = parseHostPort(l.Address, forListening)
			}
			out = append(out, found)
		}
		admin := at + ".discovery.admin"
		if a, err := parseHostPort(p.Discovery.Admin, forListening); err == nil && !r.isBad(admin) {
			out = append(out, listener{admin, r.cfg.label(admin), Listen{Network: "tcp", Address: p.Discovery.Admin}, a})
		}
	}
	return out
}

// checkListeners finds addresses that two listeners would want.
func checkListeners(r *report) {
	all := listeners(r)
	for i, b := range all {
		for _, a := range all[:i] {
			same := a.addr.Network == b.addr.Network
			if same && a.addr.Network == "unix" {
				same = a.addr.Address == b.addr.Address
			} else if same {
				same = a.tcp.overlaps(b.tcp)
			}
			if !same {
				continue
			}
			taker := a.what
			if text(a.addr) != text(b.addr) {
				taker = quote(text(a.addr)) + " of " + taker
			}
			r.add(b.path, fmt.Sprintf("%s is taken by %s%s", quote(text(b.addr)), taker, r.line(a.path)),
				"give each listener a port or a path of its own")
			break
		}
	}
}

// text returns a listen address without the mode, which plays no part in whether it is free.
func text(l Listen) string { return l.Network + "://" + l.Address }
