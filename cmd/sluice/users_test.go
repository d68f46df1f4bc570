package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// A password is changed and rights are taken away by reloads, in the steps of docs/USERS.md; nobody is dropped who need not be.
func TestUsersChangeByReload(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t, "--requirepass", "backend"), testbed.Redis(t, "--requirepass", "backend")
	hash := func(password string) string {
		sum := sha256.Sum256([]byte(password))
		return hex.EncodeToString(sum[:])
	}
	config := func(users string) string {
		return configFor(a.Addr(), b.Addr(), 511) + "[pool.auth]\nbackend_password = \"backend\"\n" + users
	}
	user := func(rest string, passwords ...string) string {
		for i, p := range passwords {
			passwords[i] = hash(p)
		}
		return fmt.Sprintf("[[pool.auth.user]]\nname = \"app\"\npassword_sha256 = [\"%s\"]\n%s\n", strings.Join(passwords, `", "`), rest)
	}
	s := serve(t, config(user("", "hunter2-old")))
	reload := func(config string) {
		t.Helper()
		write(t, s.file, config)
		if code, body := ask(t, http.MethodPost, s.admin+"/-/reload"); code != http.StatusOK {
			t.Fatalf("reload: %d %s", code, body)
		}
	}
	expect := func(want, got string) {
		t.Helper()
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	first := connect(t, s.addr)
	expect("-NOAUTH", do(t, first, "GET app:k"))
	expect("-WRONGPASS", do(t, first, "AUTH app backend"))
	expect("+OK", do(t, first, "AUTH app hunter2-old"))
	expect("+OK", do(t, first, "SET app:k v"))
	expect("+OK", do(t, first, "SET other v"))

	reload(config(user(`keys = ["app:*"]`, "hunter2-old", "hunter2-new")))
	testbed.Eventually(t, func() error {
		if got := do(t, first, "GET other"); !strings.HasPrefix(got, "-NOPERM") {
			return fmt.Errorf("other: %s", got)
		}
		return nil
	}, 10*time.Second)
	expect("v", do(t, first, "GET app:k"))
	second := connect(t, s.addr)
	expect("+OK", do(t, second, "AUTH app hunter2-new"))
	expect("v", do(t, second, "GET app:k"))

	reload(config(user("read_only = true", "hunter2-new")))
	testbed.Eventually(t, func() error {
		if got := do(t, second, "SET app:k w"); !strings.HasPrefix(got, "-NOPERM") {
			return fmt.Errorf("SET: %s", got)
		}
		return nil
	}, 10*time.Second)
	expect("v", do(t, first, "GET other"))
	expect("-WRONGPASS", do(t, first, "AUTH app hunter2-old"))
	for _, secret := range []string{"hunter2", hash("hunter2-old")[:16], hash("hunter2-new")[:16], "=backend"} {
		if strings.Contains(s.out.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

// The servers are asked for their commands once they are up, and what is declared is sent to them.
func TestCommandsAreLearnedAndDeclared(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t, "--rename-command", "SETNX", "bf.add"), testbed.Redis(t)
	off := strings.Replace(configFor(a.Addr(), b.Addr(), 511), `slot_model = "codis"`, "slot_model = \"codis\"\nlearn_commands = false", 1)
	s := serve(t, strings.Replace(off, "[[pool.group]]", "[[pool.command]]\nname = \"bf.add\"\naccess = \"write\"\narity = 3\n[[pool.group]]", 1))
	conn := connect(t, s.addr)
	if got := do(t, conn, "BF.ADD foo x"); got != ":1" || a.Do("GET", "foo").String() != "x" {
		t.Errorf("what the server of group 1 has: %q", got)
	}
	if got := do(t, conn, "BF.ADD a x"); got != "-ERR unknown command 'BF.ADD', with args beginning with: 'a' 'x'" {
		t.Errorf("what the server of group 2 does not have: %q", got)
	}
	if got := do(t, conn, "bf.add foo"); got != "-ERR wrong number of arguments for 'bf.add' command" {
		t.Errorf("too few arguments: %q", got)
	}
	asked := func(server *testbed.Server) bool {
		return strings.Contains(server.Do("INFO", "commandstats").String(), "cmdstat_command:")
	}
	if asked(a) || asked(b) {
		t.Error("servers are asked for their commands although learn_commands is off")
	}
	write(t, s.file, configFor(a.Addr(), b.Addr(), 511))
	if code, body := ask(t, http.MethodPost, s.admin+"/-/reload"); code != http.StatusOK || !strings.Contains(body, "pool.main.learn_commands") {
		t.Fatalf("reload: %d %s", code, body)
	}
	s.waitFor(t, "servers have told their commands")
	testbed.Eventually(t, func() error {
		if !asked(a) || !asked(b) {
			return fmt.Errorf("asked: %v and %v", asked(a), asked(b))
		}
		return nil
	}, 10*time.Second)
}
