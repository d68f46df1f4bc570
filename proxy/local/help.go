package local

import (
	"slices"
	"strings"

	"sluice/proxy/resp"
)

// helpTexts are the HELPs of the containers that Sluice answers itself, with the subcommands that it has. A line that
// does not begin with a blank is a subcommand. Those of ACL and PUBSUB are in the words of Redis 7.0. Immutable.
var helpTexts = map[string]string{
	"acl": `
CAT [<category>]
    List all commands that belong to <category>, or all command categories
    when no category is specified.
DRYRUN <username> <command> [<arg> ...]
    Returns whether the user can execute the given command without executing the command.
LIST
    Show users details in config file format.
USERS
    List all the registered usernames.
WHOAMI
    Return the current connection username.
HELP
    Prints this help.
`,
	"pubsub": `
CHANNELS [<pattern>]
    Return the currently active channels matching a <pattern> (default: '*').
NUMPAT
    Return number of subscriptions to patterns.
NUMSUB [<channel> ...]
    Return the number of subscribers for the specified channels, excluding
    pattern subscriptions(default: no channels).
SHARDCHANNELS [<pattern>]
    Return the currently active shard level channels matching a <pattern> (default: '*').
SHARDNUMSUB [<shardchannel> ...]
    Return the number of subscribers for the specified shard level channel(s)
HELP
    Prints this help.
`,
	"client": `
CACHING (YES|NO)
    Refused: nothing is cached for clients.
GETNAME
    Return the name of this connection.
GETREDIR
    Return -1 while tracking is off, else 0.
ID
    Return the id of this connection.
INFO
    Return the line of CLIENT LIST of this connection.
KILL <ip:port>
    Close the connections from an address.
KILL <option> <value> [<option> <value> [...]]
    Close the connections of this pool that all options choose: ID, TYPE, ADDR, LADDR, USER, SKIPME (YES|NO).
LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <id> [<id> ...]]
    Return a line for each connection of this pool.
NO-EVICT (ON|OFF)
    Accepted, without effect.
NO-TOUCH (ON|OFF)
    Accepted, without effect.
PAUSE <timeout> [WRITE|ALL]
    Let the clients of this pool in this process wait with their next request, for <timeout> milliseconds.
REPLY (ON|OFF|SKIP)
    Switch the replies to this connection.
SETINFO <attribute> <value>
    Set lib-name or lib-ver.
SETNAME <name>
    Name this connection.
TRACKING (ON OPTIN|OFF)
    Accepted, without effect; anything else is refused.
TRACKINGINFO
    Return what was accepted.
UNPAUSE
    End the pause of the clients of this pool.
`,
	"config": `
GET <pattern> [<pattern> ...]
    Return the parameters with these names and their values: Sluice's own, and those that the masters have.
SET <parameter> <value> [<parameter> <value> ...]
    Change Sluice's own until the next reload, those of the servers at all masters.
RESETSTAT
    Set the counters that INFO shows to 0.
REWRITE
    Refused: the file is the operator's.
`,
	"command": `
(no subcommand)
    Return the details of all commands.
COUNT
    Return the number of commands.
DOCS [<command-name> ...]
    Return what is documented about these commands, or all.
GETKEYS <full-command>
    Return the keys of a command.
GETKEYSANDFLAGS <full-command>
    Return the keys of a command and how it uses them.
INFO [<command-name> ...]
    Return the details of these commands, or all.
LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]
    Return the names of commands.
`,
	"slowlog": `
GET [<count>]
    Return the newest slow requests of this pool (10, -1 for all), newest first, each as
    id, unix time, microseconds, arguments, client address, client name.
    ` + "`sluice ctl slowlog`" + ` shows what the time was spent on.
LEN
    Return the number of slow requests that are kept.
RESET
    Forget the slow requests of this pool.
`,
	"latency": `
DOCTOR
    Say where to look: no events are sampled.
GRAPH <event>
    An error, since there are no events.
HISTOGRAM [<command> ...]
    Refused: there is no histogram for each command.
HISTORY <event>
    Return nothing.
LATEST
    Return nothing.
RESET [<event> ...]
    Return 0.
`,
	"cluster": `
COUNTKEYSINSLOT <slot>
    Ask the owner of a slot; of servers in cluster mode only.
GETKEYSINSLOT <slot> <count>
    Ask the owner of a slot; of servers in cluster mode only.
INFO
    Return the state of the cluster of one node that this proxy shows.
KEYSLOT <key>
    Return the slot of a key in a cluster.
LINKS
    Return nothing.
MYID
    Return the id of this proxy.
MYSHARDID
    Return the id of this proxy.
NODES
    Return the one node.
REPLICAS <node-id>
    Return nothing.
SHARDS
    Return the one shard.
SLOTS
    Return the one range of slots.
`,
}

// help answers the HELP of a container.
func help(container string) Command {
	lines := strings.Split(strings.Trim(helpTexts[container], "\n"), "\n")
	if !slices.Contains(lines, "HELP") {
		lines = append(lines, "HELP", "    Print this help.")
	}
	title := strings.ToUpper(container) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
	return func(dst []byte, _ Client, _ [][]byte) []byte {
		dst = resp.AppendStatus(resp.AppendArray(dst, len(lines)+1), title)
		for _, line := range lines {
			dst = resp.AppendStatus(dst, line)
		}
		return dst
	}
}
