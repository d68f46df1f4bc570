package local

import (
	"fmt"
	"slices"
	"strings"

	"sluice/proxy/acl"
	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// Sluice's users are in its configuration, so what ACL would change of them is refused; what they may is shown, and
// what a client asks about itself, and about the categories, is answered.

// User is a user of a pool as ACL shows it.
type User struct {
	Name      string
	Passwords int        // how many it has
	Rights    *acl.Rules // nil: everything
	Rules     string     // the same as ACL LIST shows it
}

func aclWhoAmI(dst []byte, c Client, _ [][]byte) []byte { return resp.AppendBulk(dst, c.Peer().User) }

// aclList shows the users of the pool. Of passwords it says that there are some.
func aclList(dst []byte, c Client, _ [][]byte) []byte {
	var lines []string
	for _, u := range c.Pool().Users() {
		lines = append(lines, "user "+u.Name+" on "+strings.Repeat("#*** ", u.Passwords)+u.Rules)
	}
	if len(lines) == 0 {
		lines = append(lines, "user default on nopass ~* &* +@all")
	}
	return appendTexts(dst, lines)
}

func aclUsers(dst []byte, c Client, _ [][]byte) []byte {
	var names []string
	for _, u := range usersOf(c.Pool()) {
		names = append(names, u.Name)
	}
	return appendTexts(dst, names)
}

// usersOf are the users that a client may be known by.
func usersOf(p Pool) []User {
	if users := p.Users(); len(users) > 0 {
		return users
	}
	return []User{{Name: "default"}}
}

// userNamed finds a user of a pool, nil when there is none of this name.
func userNamed(p Pool, name []byte) *User {
	users := usersOf(p)
	if i := slices.IndexFunc(users, func(u User) bool { return u.Name == string(name) }); i >= 0 {
		return &users[i]
	}
	return nil
}

// aclCat lists the categories, or the commands of one.
func aclCat(dst []byte, c Client, args [][]byte) []byte {
	switch {
	case len(args) > 3:
		return resp.AppendError(dst, wrongNumber(args[1], "ACL"))
	case len(args) == 3:
		category := command.CategoryByName(args[2])
		if category == 0 {
			return resp.AppendError(dst, fmt.Sprintf("ERR Unknown category '%s'", args[2]))
		}
		return appendTexts(dst, commandsOf(category, c.Pool().Commands().Declared))
	}
	return appendTexts(dst, command.CategoryNames())
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

// aclDryRun says whether a user might run a command, without running it.
func aclDryRun(dst []byte, c Client, args [][]byte) []byte {
	user, request := userNamed(c.Pool(), args[2]), args[3:]
	if user == nil {
		return resp.AppendError(dst, fmt.Sprintf("ERR User '%s' not found", args[2]))
	}
	cmd := c.Pool().Commands().Resolve(request)
	switch {
	case cmd == nil:
		return resp.AppendError(dst, fmt.Sprintf("ERR Command '%s' not found", request[0]))
	case !cmd.ArityOK(len(request)):
		return resp.AppendError(dst, command.ErrArity(cmd))
	}
	if denial := user.Rights.Check(cmd, request); denial.Denied() {
		return resp.AppendBulk(dst, denial.DryRun(request))
	}
	return appendOK(dst)
}
