package local

import (
	"testing"

	"sluice/proxy/acl"
)

func TestACLOfAPoolWithAndWithoutUsers(t *testing.T) {
	c := newTestClient()
	c.peer.User = "default"
	c.want(t, "$7\r\ndefault\r\n", "ACL WHOAMI")
	c.want(t, "*1\r\n$34\r\nuser default on nopass ~* &* +@all\r\n", "ACL LIST")
	c.want(t, "*1\r\n$7\r\ndefault\r\n", "ACL USERS")
	c.want(t, "+OK\r\n", "ACL DRYRUN default GET k")
	c.want(t, "-ERR User 'app' not found\r\n", "ACL DRYRUN app GET k")
	rights, err := acl.New(acl.Spec{Keys: []string{"app:*"}, Commands: []string{"+@all"}})
	if err != nil {
		t.Fatal(err)
	}
	c.users = []User{{Name: "app", Passwords: 2, Rules: "~app:* +@all", Rights: rights}}
	c.want(t, "*1\r\n$34\r\nuser app on #*** #*** ~app:* +@all\r\n", "ACL LIST")
	c.want(t, "*1\r\n$3\r\napp\r\n", "ACL USERS")
	c.want(t, "+OK\r\n", "ACL DRYRUN app GET app:1")
	c.want(t, "-ERR User 'default' not found\r\n", "ACL DRYRUN default GET k")
	c.want(t, "-ERR Command 'nosuch' not found\r\n", "ACL DRYRUN app nosuch")
	c.want(t, "-ERR wrong number of arguments for 'get' command\r\n", "ACL DRYRUN app GET")
	if got := c.do("ACL DRYRUN app GET k"); got[0] != '$' {
		t.Errorf("a key that is not allowed: %q", got)
	}
	c.want(t, "-ERR Unknown category 'nosuch'\r\n", "ACL CAT nosuch")
	c.want(t, "-ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP.\r\n", "ACL CAT read write")
}
