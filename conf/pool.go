package conf

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// longestName bounds names that become parts of metric labels and of keys in other systems.
const longestName = 64

// isName reports whether s can be the name of a pool or a group.
func isName(s string) bool {
	return len(s) <= longestName && isBare(s)
}

// checkPool checks one pool apart from the others.
func checkPool(r *report, path string, p *Pool) {
	if r.isBad(path) {
		return // it is not even a table
	}
	checkBounds(r, path, reflect.ValueOf(*p))
	checkName(r, path, "name", p.Name, `name = "main"`)
	checkListen(r, path, p)
	checkSlotModel(r, path, p)
	checkDialect(r, join(path, "dialect"), p.Dialect)
	checkOneOf(r, join(path, "ping"), p.Ping, PingServers, PingProxy)
	checkOneOf(r, join(path, "server_config"), p.ServerConfig, ServerConfigSet, ServerConfigGet, ServerConfigOff)
	checkDiscovery(r, path, p)
	checkAdminPort(r, path+".discovery.admin_port", p.Discovery.AdminPort)
	checkBackend(r, path, &p.Backend)
	checkCommands(r, path, p)
	checkAuth(r, path, p)
	checkReads(r, path, p)
}

func checkDialect(r *report, path string, d Dialect) {
	checkOneOf(r, path, d, DialectRedis, DialectCodis, DialectPika, DialectDragonfly, DialectKvrocks)
}

// checkAdminPort checks a port, or "+" and how much is added to one.
func checkAdminPort(r *report, path, text string) {
	number, isMore := strings.CutPrefix(text, "+")
	n, err := strconv.ParseUint(number, 10, 16)
	if text == "" || r.isBad(path) || err == nil && n > 0 && number[0] != '0' {
		return
	}
	what := " is not a port"
	if isMore {
		what = " is not a difference of ports"
	}
	r.add(path, quote(text)+what, `"9999" for that port of each node, "+10" for the port of the node plus 10`)
}

// checkName checks a required name of the table at path.
func checkName(r *report, path, key, name, example string) {
	at := join(path, key)
	switch {
	case r.isBad(at):
	case name == "":
		r.add(at, "is missing", "add "+example)
	case !isName(name):
		r.add(at, quote(name)+" is not a name", fmt.Sprintf("up to %d letters, digits, hyphens and underscores", longestName))
	}
}

func checkListen(r *report, path string, p *Pool) {
	at := join(path, "listen")
	if len(p.Listen) == 0 && !r.isBad(at) {
		r.add(at, "the pool listens nowhere", `add listen = ["tcp://127.0.0.1:6380"]`)
	}
	// What came from a file has been parsed; what was built in code has not.
	for i, l := range p.Listen {
		if at := element(at, i); !r.isBad(at) {
			if _, err := ParseListen(l.String()); err != nil {
				bad := asBad(err)
				r.add(at, bad.msg, bad.hint)
			}
		}
	}
}

func checkSlotModel(r *report, path string, p *Pool) {
	model := join(path, "slot_model")
	if p.SlotModel == "" {
		if !r.isBad(model) {
			r.add(model, "is missing", `"codis" for crc32 of the key, "cluster" for crc16 as in Redis Cluster; `+
				"it has to be what the data was written with")
		}
		return
	}
	checkOneOf(r, model, p.SlotModel, SlotCodis, SlotCluster)
	slots := join(path, "slots")
	if p.SlotModel == SlotCluster && p.Slots != clusterSlots && !r.isBad(slots) {
		r.add(slots, fmt.Sprintf(`%d slots with slot_model "cluster", which has %d`, p.Slots, clusterSlots),
			"leave slots out")
	}
	checkOneOf(r, join(path, "multi_key"), p.MultiKey, MultiKeyGroup, MultiKeySlot)
	if at := join(path, "multi_key"); p.SlotModel == SlotCluster && p.MultiKey == MultiKeyGroup && r.cfg.given(at) {
		r.add(at, `"group" with slot_model "cluster", whose nodes refuse keys of several slots`, "leave multi_key out")
	}
}

// leastAge is the least age at which a connection may be replaced: each costs the server a greeting.
const leastAge = Duration(time.Second)

func checkBackend(r *report, path string, b *Backend) {
	low, high := path+".backend.reconnect_min", path+".backend.reconnect_max"
	if b.ReconnectMin > b.ReconnectMax && !r.isBad(low) && !r.isBad(high) {
		at := low
		if !r.cfg.given(low) {
			at = high
		}
		r.add(at, fmt.Sprintf("reconnect_min %v is longer than reconnect_max %v", b.ReconnectMin, b.ReconnectMax),
			"swap them, or raise reconnect_max")
	}
	if age := path + ".backend.max_connection_age"; b.MaxConnectionAge > 0 && b.MaxConnectionAge < leastAge && !r.isBad(age) {
		r.add(age, fmt.Sprintf("max_connection_age %v is shorter than %v", b.MaxConnectionAge, leastAge), `"0s" keeps connections for ever`)
	}
}

func checkAuth(r *report, path string, p *Pool) {
	a := &p.Auth
	path = join(path, "auth")
	checkSecret(r, join(path, "backend_password"), a.BackendPassword)
	if a.BackendUser != "" && a.BackendPassword.Empty() && !r.isBad(join(path, "backend_password")) {
		r.add(join(path, "backend_user"), "has no password", "add backend_password or backend_password_file")
	}
	if at := join(path, "backend_user"); strings.ContainsAny(a.BackendUser, " \t\r\n") {
		r.add(at, quote(a.BackendUser)+" is not a user name", "names have no blanks")
	}
	first := map[string]int{}
	for i, u := range a.Users {
		user := element(join(path, "user"), i)
		if r.isBad(user) {
			continue
		}
		checkBounds(r, user, reflect.ValueOf(u))
		checkSecret(r, join(user, "password"), u.Password)
		checkHashes(r, user, u.PasswordSHA256)
		if u.Password.Empty() && len(u.PasswordSHA256) == 0 && !r.isBad(join(user, "password")) && !r.isBad(join(user, "password_sha256")) {
			r.add(join(user, "password"), "is missing",
				"add password, password_file or password_sha256; without any [[pool.auth.user]] the pool asks for no AUTH")
		}
		checkRights(r, user, p, &u)
		name := join(user, "name")
		switch j, taken := first[u.Name]; {
		case r.isBad(name):
		case u.Name == "" || strings.ContainsAny(u.Name, " \t\r\n"):
			r.add(name, quote(u.Name)+" is not a user name",
				`names have no blanks; "default" is the user of an AUTH with a password only`)
		case taken:
			other := join(element(join(path, "user"), j), "name")
			r.add(name, "another user has this name"+r.line(other), "keep one of the two")
		default:
			first[u.Name] = i
		}
	}
}

// checkSecret refuses the mask, so that a printed configuration that is used as a file does not open
// the proxy to everybody who has seen one.
func checkSecret(r *report, path string, s Secret) {
	if s.Reveal() == mask && !r.isBad(path) {
		r.add(path, "is the mask that stands for a password when a configuration is printed", "write the password itself")
	}
}

// asBad returns err as the badValue that the functions of this package return, or nil.
func asBad(err error) *badValue {
	var bad *badValue
	if err != nil && !errors.As(err, &bad) {
		panic("BUG: conf: an error without a hint: " + err.Error())
	}
	return bad
}
