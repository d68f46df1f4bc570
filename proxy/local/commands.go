package local

import (
	"fmt"

	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// Command appends the reply to a request, be it an error. args are those of the request, its name among them, of a
// number that is right, and valid during the call.
type Command func(dst []byte, c Client, args [][]byte) []byte

// Commands need nothing but to know who asks. By full name; immutable.
var Commands = map[string]Command{
	"echo": echo, "time": timeOfDay, "role": role, "lolwut": lolwut, "config|rewrite": configRewrite,

	"command": commandAll, "command|count": commandCount, "command|list": commandList,
	"command|info":            catalogued((*command.Catalogue).AppendInfo),
	"command|docs":            catalogued((*command.Catalogue).AppendDocs),
	"command|getkeysandflags": catalogued((*command.Catalogue).AppendGetKeysAndFlags),
	"command|getkeys":         commandGetKeys,

	"latency|latest": nothing, "latency|history": nothing, "latency|graph": latencyGraph,
	"latency|reset": latencyReset, "latency|doctor": latencyDoctor, "latency|histogram": latencyHistogram,

	"slowlog|get": slowlogGet, "slowlog|len": slowlogLen, "slowlog|reset": slowlogReset,

	"client|setname": clientSetName, "client|getname": clientGetName, "client|setinfo": clientSetInfo,
	"client|id": clientID, "client|info": clientInfo,
	"client|no-evict": toggle(func(of *Identity) *bool { return &of.NoEvict }),
	"client|no-touch": toggle(func(of *Identity) *bool { return &of.NoTouch }),
	"client|tracking": clientTracking, "client|trackinginfo": clientTrackingInfo, "client|getredir": clientGetRedir,

	"acl|whoami": aclWhoAmI, "acl|list": aclList, "acl|users": aclUsers, "acl|cat": aclCat, "acl|dryrun": aclDryRun,

	"readonly": inCluster(ok), "readwrite": inCluster(ok), "asking": inCluster(ok),
	"cluster|slots": ofNode(clusterSlots), "cluster|shards": ofNode(clusterShards),
	"cluster|nodes": ofNode(clusterNodes), "cluster|info": inCluster(clusterInfo),
	"cluster|myid": inCluster(clusterMyID), "cluster|myshardid": inCluster(clusterMyID),
	"cluster|keyslot": inCluster(clusterKeySlot), "cluster|links": inCluster(nothing),
	"cluster|replicas": inCluster(clusterReplicas), "cluster|slaves": inCluster(clusterReplicas),

	"acl|help": help("acl"), "client|help": help("client"), "command|help": help("command"),
	"config|help": help("config"), "cluster|help": inCluster(help("cluster")), "latency|help": help("latency"),
	"pubsub|help": help("pubsub"), "slowlog|help": help("slowlog"),
}

// catalogued is a command that shows what follows its name in the catalogue of the pool.
func catalogued(show func(l *command.Catalogue, dst []byte, names [][]byte, resp3 bool) []byte) Command {
	return func(dst []byte, c Client, args [][]byte) []byte {
		return show(c.Pool().Commands(), dst, args[2:], c.RESP3())
	}
}

func commandAll(dst []byte, c Client, _ [][]byte) []byte {
	return c.Pool().Commands().AppendAll(dst, c.RESP3())
}

func commandCount(dst []byte, c Client, _ [][]byte) []byte {
	return c.Pool().Commands().AppendCount(dst)
}

func commandList(dst []byte, c Client, args [][]byte) []byte {
	return c.Pool().Commands().AppendList(dst, args[2:])
}

func commandGetKeys(dst []byte, c Client, args [][]byte) []byte {
	return c.Pool().Commands().AppendGetKeys(dst, args[2:])
}

// nothing answers an empty array.
func nothing(dst []byte, _ Client, _ [][]byte) []byte { return resp.AppendArray(dst, 0) }

func ok(dst []byte, _ Client, _ [][]byte) []byte { return appendOK(dst) }

func appendOK(dst []byte) []byte { return resp.AppendStatus(dst, "OK") }

// wrongNumber is Redis' refusal of a subcommand with too many arguments that its table lets pass.
func wrongNumber(sub []byte, container string) string {
	return fmt.Sprintf("ERR unknown subcommand or wrong number of arguments for '%.128s'. Try %s HELP.", sub, container)
}

// appendTexts appends an array.
func appendTexts(dst []byte, texts []string) []byte {
	dst = resp.AppendArray(dst, len(texts))
	for _, text := range texts {
		dst = resp.AppendBulk(dst, text)
	}
	return dst
}
