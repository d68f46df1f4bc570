package proxy

import (
	"fmt"
	"strings"

	"sluice/proxy/acl"
	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// Sluice's users are in its configuration, so what ACL would change of them is refused; what they may is shown, and
// what a client asks about itself, and about the categories, is answered.

func cmdACLWhoAmI(c *client, _ [][]byte) stall {
	c.answer(func(dst []byte) []byte { return resp.AppendBulk(dst, c.user) })
	return stallNone
}

// cmdACLList shows the users of the pool. Of passwords it says that there are some.
func cmdACLList(c *client, _ [][]byte) stall {
	users := c.pool.Settings().Users
	var lines []string
	for i := range users {
		lines = append(lines, "user "+users[i].Name+" on "+strings.Repeat("#*** ", len(users[i].Passwords))+users[i].Rules)
	}
	if len(users) == 0 {
		lines = append(lines, "user default on nopass ~* &* +@all")
	}
	return c.answerTexts(lines)
}

func cmdACLUsers(c *client, _ [][]byte) stall {
	users := c.pool.Settings().Users
	var names []string
	for i := range users {
		names = append(names, users[i].Name)
	}
	if len(users) == 0 {
		names = append(names, "default")
	}
	return c.answerTexts(names)
}

// cmdACLCat lists the categories, or the commands of one.
func cmdACLCat(c *client, args [][]byte) stall {
	names := command.CategoryNames()
	switch {
	case len(args) > 3:
		c.replyError("ERR unknown subcommand or wrong number of arguments for '" + string(args[1]) + "'. Try ACL HELP.")
		return stallNone
	case len(args) == 3:
		category := command.CategoryByName(args[2])
		if category == 0 {
			c.replyError(fmt.Sprintf("ERR Unknown category '%s'", args[2]))
			return stallNone
		}
		names = commandsOf(category, c.pool.commands().Declared)
	}
	return c.answerTexts(names)
}

// answerTexts answers a local command with an array.
func (c *client) answerTexts(texts []string) stall {
	c.answer(func(dst []byte) []byte {
		dst = resp.AppendArray(dst, len(texts))
		for _, text := range texts {
			dst = resp.AppendBulk(dst, text)
		}
		return dst
	})
	return stallNone
}

// commandsOf lists the commands of a category.
func commandsOf(category command.Categories, more command.Declarations) []string {
	var names []string
	for id := range command.Count {
		if cmd := command.At(id); cmd.ACL&category != 0 {
			names = append(names, cmd.Name)
		}
	}
	for name, cmd := range more {
		if cmd.ACL&category != 0 {
			names = append(names, name)
		}
	}
	return names
}

// cmdACLDryRun says whether a user might run a command, without running it.
func cmdACLDryRun(c *client, args [][]byte) stall {
	users := c.pool.Settings().Users
	user, request := userNamed(users, string(args[2])), args[3:]
	var rights *acl.Rules
	switch {
	case user != nil:
		rights = user.Rights
	case len(users) > 0 || string(args[2]) != "default":
		c.replyError(fmt.Sprintf("ERR User '%s' not found", args[2]))
		return stallNone
	}
	cmd := c.resolve(request)
	switch {
	case cmd == nil:
		c.replyError(fmt.Sprintf("ERR Command '%s' not found", request[0]))
		return stallNone
	case !cmd.ArityOK(len(request)):
		c.replyError(command.ErrArity(cmd))
		return stallNone
	}
	denial := rights.Check(cmd, request)
	if !denial.Denied() {
		c.replyOK()
		return stallNone
	}
	c.answer(func(dst []byte) []byte { return resp.AppendBulk(dst, denial.DryRun(request)) })
	return stallNone
}
