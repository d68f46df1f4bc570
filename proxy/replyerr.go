package proxy

import (
	"errors"
	"fmt"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/resp"
	"sluice/router"
)

// The error texts that clients see, without the leading '-'. Those that Redis has too are Redis' words
// (redis 7.2, src/server.c createSharedObjects and the commands' sources); clients match on them.
const (
	errMaxClients   = "ERR max number of clients reached"
	errNoAuth       = "NOAUTH Authentication required."
	errWrongPass    = "WRONGPASS invalid username-password pair or user is disabled."
	errNoPassword   = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
	errNotInteger   = "ERR value is not an integer or out of range"
	errDBIndex      = "ERR DB index is out of range"
	errClusterDB    = "ERR SELECT is not allowed in cluster mode"
	errCrossSlot    = "CROSSSLOT Keys in request don't hash to the same slot"
	errFenced       = "CLUSTERDOWN the proxy has lost its lease in Consul (consul.on_loss is fence)"
	errSlotUnserved = "CLUSTERDOWN Hash slot not served"
	errNoProto      = "NOPROTO unsupported protocol version"
	errProtoNumber  = "ERR Protocol version is not an integer or out of range"
	errHelloAuth    = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"

	errNotSubscribed = "ERR not subscribed: the connection is being closed"

	errSelectWatch = "ERR SELECT between WATCH and EXEC is not supported through Sluice"

	errACL          = "ERR users are in the configuration of Sluice, in [[pool.auth.user]]: a reload changes them"
	errNoCaching    = "ERR client-side caching is not supported through Sluice"
	errNoTopology   = "CLUSTERDOWN Sluice has no topology yet"
	errDeclaredKeys = "ERR the keys of this command are not where [[pool.command]] says"
	errNoScript     = "NOSCRIPT No matching script. Please use EVAL."
	errCursor       = "ERR invalid cursor"
	errSwapDB       = "ERR SWAPDB is not allowed in cluster mode"
)

func appendErrorLine(dst []byte, text string) []byte { return resp.AppendError(dst, text) }

// unavailable is the answer for a node whose breaker is open.
func unavailable(node *backend.Node) string {
	if node.Paused() {
		return "ERR " + paused(node)
	}
	cause := node.Status().Err
	if cause == "" {
		cause = "its requests time out"
	}
	return fmt.Sprintf("ERR backend %s is unavailable: %s", node.Addr, cause)
}

// paused says why a node that lives is sent nothing.
func paused(node *backend.Node) string {
	return fmt.Sprintf("backend %s is silent while slots migrate", node.Addr)
}

// unavailableBecause is the answer for a request that never left.
func unavailableBecause(node *backend.Node, err error) string {
	if node.Paused() {
		return "ERR " + paused(node)
	}
	if errors.Is(err, backend.ErrTimeout) {
		return fmt.Sprintf("ERR backend %s is unavailable: not connected within %s", node.Addr, node.Options().RequestTimeout)
	}
	return fmt.Sprintf("ERR backend %s is unavailable: %v", node.Addr, err)
}

// sendError is the answer when a request could not be queued.
func sendError(node *backend.Node, err error) string {
	if errors.Is(err, backend.ErrQueueFull) {
		return fmt.Sprintf("ERR backend %s is overloaded: %d bytes of requests are queued for it",
			node.Addr, node.Options().MaxQueued)
	}
	return unavailableBecause(node, err)
}

// denied is the answer when a node does not take the proxy for whom it says it is.
func denied(r backend.Reply) string {
	return fmt.Sprintf("ERR backend %s does not accept Sluice's credentials, see [pool.auth] backend_password: %s",
		r.Conn.Node.Addr, resp.TrimLine(r.Data[1:]))
}

func tooManyRedirects(slot router.Slot, hops int, addr string) string {
	return fmt.Sprintf("TRYAGAIN slot %d was redirected %d times, last to %s: the nodes disagree about its owner", slot,
		hops, addr)
}

func unsupported(name string) string {
	return fmt.Sprintf("ERR '%s' is not supported through this version of Sluice", name)
}

func notAllowed(name string) string {
	return fmt.Sprintf("ERR '%s' is not allowed through Sluice, send it to the server itself", name)
}

// whileSubscribed is the answer to a command that a RESP2 client must not use while it is subscribed.
func whileSubscribed(cmd *command.Command) string {
	return fmt.Sprintf("ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context", cmd.Name)
}
