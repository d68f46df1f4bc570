// Package dialect knows what the replies of each store family mean and what they prove. One file per family:
// redis.go (Redis and Valkey, alone or as a cluster), codis.go, pika.go, dragonfly.go, kvrocks.go. What
// codis-server and Pika share, the commands that move one key, is in movekey.go.
package dialect

import (
	"bytes"
	"net"
	"strconv"

	"sluice/router"
)

// Family is a store family: what its error replies mean, and how its keys are reached while their slot
// moves. Immutable.
type Family struct {
	// Name is that of the configuration.
	Name string
	// Judge reads an error reply to a command of a client; host is that of the node that sent it, which
	// stands for an empty host in a redirect. It allocates only for what is not Pass.
	Judge func(reply []byte, host string) Verdict
	// FindKey says how the keys of a request are found while their slot moves key by key, so that a proxy has to find
	// out on which side a key is. nil: the family answers redirects instead. NeedsToken says that keys are found so only
	// while the move has a fencing token. FindsKeys asks both.
	FindKey    func(r KeyRequest) Way
	NeedsToken bool
	// CachesMoved says that a server goes on showing keys that have moved away, and as they were then when they
	// come back, until ClearCache.
	CachesMoved bool
	// Background says that a background migration, which BackgroundBusy tells of, moves one slot at a time.
	Background bool

	// Unblocks says that CLIENT UNBLOCK makes a server let a blocked client go.
	Unblocks bool

	// OffsetsProve says that an offset which a replica reports as applied proves that all before it is applied, if its
	// replication id is the master's. Pika counts what it has written to its log and not yet applied, and may have the
	// master's offset without the data of a full sync; a master of Dragonfly has no offset to compare with.
	OffsetsProve bool
	// RelinkUnproven says that a link which comes back may lack data without INFO telling: a Pika whose full sync went
	// wrong goes on with the increments, and Dragonfly says the same after a partial sync and after a full one.
	RelinkUnproven bool
	// NoDBSize says that DBSIZE must not be sent: with slotmigrate and a key in every slot Pika answers it twice, and
	// every reply behind it on the connection is the one of the request before.
	NoDBSize bool
	// LosesAtomics says that a migration never hears of what transactions and scripts write to its slots: they have
	// to be kept away from them. MigrationQuestion and Leaves tell.
	LosesAtomics bool
	// KeepsMoved says that a node of a cluster may list keys of slots that it has handed over, or does not have yet.
	KeepsMoved bool
}

// families by name. Immutable after construction.
var families = map[string]*Family{}

func register(f *Family) *Family {
	families[f.Name] = f
	return f
}

// Of finds a family by its name in the configuration, nil when there is none.
func Of(name string) *Family { return families[name] }

// Kind says what to do about an error reply.
type Kind uint8

const (
	// Pass leaves the reply to the client.
	Pass Kind = iota
	// Moved proves that the command was not run; the slot belongs to another node from now on.
	Moved
	// Ask proves that the command was not run; another node takes this one command.
	Ask
	// Migrating proves that the command was not run; its keys are on the way between two nodes.
	Migrating
	// NoMaster proves that the command was not run; the node is not, or not yet, a master that serves.
	NoMaster
	// Denied proves that the command was not run; the node does not accept the proxy's credentials.
	Denied
)

// Verdict is the meaning of an error reply.
type Verdict struct {
	Kind Kind
	Slot router.Slot // Moved, Ask
	Addr string      // Moved, Ask: host:port to go to
}

// redirect reads "-MOVED 3999 127.0.0.1:6381\r\n" and the same with ASK (Redis cluster specification, "MOVED
// Redirection"). An empty host, or "?", means the host that was asked.
func redirect(reply []byte, host string) (Verdict, bool) {
	line := bytes.TrimRight(reply, "\r\n")
	var kind Kind
	switch {
	case bytes.HasPrefix(line, []byte("-MOVED ")):
		kind, line = Moved, line[len("-MOVED "):]
	case bytes.HasPrefix(line, []byte("-ASK ")):
		kind, line = Ask, line[len("-ASK "):]
	default:
		return Verdict{}, false
	}
	number, addr, ok := bytes.Cut(line, []byte{' '})
	slot, err := strconv.ParseUint(string(number), 10, 16)
	colon := bytes.LastIndexByte(addr, ':')
	if !ok || err != nil || slot >= router.ClusterSlots || colon < 0 {
		return Verdict{}, false
	}
	to, port := string(addr[:colon]), string(addr[colon+1:])
	if to == "" || to == "?" {
		to = host
	}
	return Verdict{Kind: kind, Slot: router.Slot(slot), Addr: net.JoinHostPort(trimBrackets(to), port)}, true
}

// trimBrackets makes "[::1]" and "::1" the same host: servers print IPv6 addresses without brackets.
func trimBrackets(host string) string {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}

// token is a reply that starts with prefix, and what it means.
type token struct {
	prefix string
	kind   Kind
}

// proven lists errors that Redis, and the families that come from it, answer before it runs a command (redis 7.2,
// src/server.c processCommand, src/cluster.c clusterRedirectClient), and that pass by themselves. Others of that kind,
// such as OOM, MISCONF, NOREPLICAS or BUSY, may last for as long as they like and are the client's to know.
var proven = []token{
	{"-TRYAGAIN ", Migrating},
	{"-CLUSTERDOWN ", NoMaster},
	{"-LOADING ", NoMaster},
	{"-MASTERDOWN ", NoMaster},
	{"-READONLY ", NoMaster},
	{"-NOAUTH ", Denied},
}

// judge finds the first token that reply starts with.
func judge(reply []byte, tokens []token) Verdict {
	for _, t := range tokens {
		if bytes.HasPrefix(reply, []byte(t.prefix)) && !fromScript(reply) {
			return Verdict{Kind: t.kind}
		}
	}
	return Verdict{}
}

// exact are the texts of proven errors in the words of the server (redis 7.2, src/server.c createSharedObjects,
// src/cluster.c clusterRedirectClient; kvrocks 2.x, src/cluster/cluster.cc, where EVAL is a command that writes).
var exact = map[string]bool{
	"-TRYAGAIN Multiple keys request during rehashing of slot\r\n":                           true,
	"-TRYAGAIN Can't write to slot being migrated which is in write forbidden phase\r\n":     true,
	"-ERR TRYAGAIN Can't write to slot being migrated which is in write forbidden phase\r\n": true, // Up to 2.6.
	"-CLUSTERDOWN The cluster is down\r\n":                                                   true,
	"-CLUSTERDOWN The cluster is down and only accepts read commands\r\n":                    true,
	"-CLUSTERDOWN Hash slot not served\r\n":                                                  true,
	"-LOADING Redis is loading the dataset in memory\r\n":                                    true,
	"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n":  true,
}

// Exact reports whether an error is in the very words of a server. A script may return an error of its own
// that begins like one, after it has run.
func Exact(reply []byte) bool { return exact[string(reply)] || bytes.HasPrefix(reply, readOnly) }

// readOnly is how Redis refuses a write at a replica, also to a script, with or without its name behind. A script
// that is told so has written nothing: the server was a replica from its beginning to its end. (It may have
// published something.)
var readOnly = []byte("-READONLY You can't write against a read only replica.")

// NoScript reports whether a reply is a server's to the SHA-1 of a script that it does not have (redis 3.2 to 7.2,
// src/server.c createSharedObjects). That proves that no script was run only if the script did not make the text up.
func NoScript(reply []byte) bool {
	return string(reply) == "-NOSCRIPT No matching script. Please use EVAL.\r\n"
}

// fromScript recognises an error that redis.call raised inside a script, which may have run other commands
// before and after (redis 7.0, src/script_lua.c luaError: " script: <sha>, on @user_script:<line>.").
func fromScript(reply []byte) bool {
	if bytes.HasPrefix(reply, readOnly) {
		return false
	}
	return bytes.Contains(reply, []byte(" script: ")) || bytes.HasPrefix(reply, []byte("-ERR Error running script"))
}
