package proxy

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// localCommands are answered by Sluice itself, by full name. Immutable after construction.
var localCommands = map[string]localFunc{
	"ping": cmdPing, "echo": cmdEcho, "quit": cmdQuit, "reset": cmdReset, "select": cmdSelect, "time": cmdTime,
	"auth": cmdAuth, "hello": cmdHello,

	"client|setname": cmdClientSetName, "client|getname": cmdClientGetName, "client|setinfo": cmdClientSetInfo,
	"client|id": cmdClientID, "client|info": cmdClientInfo, "client|list": cmdClientList,
	"client|no-evict": cmdClientNoEvict, "client|no-touch": cmdClientNoTouch,
	"client|unblock":  cmdClientUnblock,
	"client|tracking": cmdClientTracking, "client|caching": cmdClientCaching,

	"command": cmdCommand, "command|info": cmdCommandInfo, "command|count": cmdCommandCount,
	"command|docs": cmdCommandDocs, "command|list": cmdCommandList,
	"command|getkeys": cmdCommandGetKeys, "command|getkeysandflags": cmdCommandGetKeysAndFlags,

	"acl|whoami": cmdACLWhoAmI, "acl|cat": cmdACLCat, "acl|dryrun": cmdACLDryRun, "acl|help": cmdACLHelp,

	"info": cmdInfo, "config|get": cmdConfigGet,
}

func cmdCommand(c *client, _ [][]byte) bool {
	c.answer(func(dst []byte) []byte { return command.AppendAll(dst, c.pool.declared(), c.resp3()) })
	return true
}

func cmdCommandInfo(c *client, args [][]byte) bool {
	c.answer(func(dst []byte) []byte { return command.AppendInfo(dst, args[2:], c.pool.declared(), c.resp3()) })
	return true
}

func cmdCommandCount(c *client, _ [][]byte) bool {
	c.answer(func(dst []byte) []byte { return command.AppendCount(dst, c.pool.declared()) })
	return true
}

func cmdCommandDocs(c *client, args [][]byte) bool {
	c.answer(func(dst []byte) []byte { return command.AppendDocs(dst, args[2:], c.pool.declared(), c.resp3()) })
	return true
}

func cmdCommandList(c *client, args [][]byte) bool {
	c.answer(func(dst []byte) []byte { return command.AppendList(dst, args[2:], c.pool.declared()) })
	return true
}

func cmdCommandGetKeys(c *client, args [][]byte) bool {
	c.answer(func(dst []byte) []byte { return command.AppendGetKeys(dst, args[2:], c.pool.declared()) })
	return true
}

func cmdCommandGetKeysAndFlags(c *client, args [][]byte) bool {
	c.answer(func(dst []byte) []byte {
		return command.AppendGetKeysAndFlags(dst, args[2:], c.pool.declared(), c.resp3())
	})
	return true
}

// cmdConfigGet answers the few parameters that clients and tools ask a server for when they connect:
// redis-benchmark save and appendonly, others databases and maxmemory.
func cmdConfigGet(c *client, args [][]byte) bool {
	s := c.loop.server.settings.Load()
	values := map[string]string{
		"appendonly":         "no",
		"cluster-enabled":    "no",
		"databases":          strconv.Itoa(c.databases()),
		"maxclients":         strconv.Itoa(s.MaxClients),
		"maxmemory":          "0",
		"maxmemory-policy":   "noeviction",
		"proto-max-bulk-len": strconv.Itoa(s.Limits.MaxBulk),
		"save":               "",
		"timeout":            "0",
	}
	found := make(map[string]string) // by the name to answer: that of an exact question is as it was asked
	for _, arg := range args[2:] {
		pattern := strings.ToLower(string(arg))
		if value, ok := values[pattern]; ok {
			found[string(arg)] = value
			continue
		}
		for name, value := range values {
			if ok, err := path.Match(pattern, name); ok && err == nil {
				found[name] = value
			}
		}
	}
	c.answer(func(dst []byte) []byte {
		dst = resp.AppendMap(dst, len(found), c.resp3())
		for _, name := range slices.Sorted(maps.Keys(found)) {
			dst = resp.AppendBulk(resp.AppendBulk(dst, name), found[name])
		}
		return dst
	})
	return true
}

// databases is how many databases SELECT offers.
func (c *client) databases() int {
	if c.pool.Model.Cluster() {
		return 1
	}
	return c.pool.Settings().Databases
}
