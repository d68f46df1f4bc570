package apps

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"sluice/internal/testbed"
)

// searchModule is where the distribution has RediSearch.
const searchModule = "/usr/lib/redis/modules/redisearch.so"

// An application that uses a module works as it does at the server, from its first command on, and COMMAND says so.
func TestModuleCommands(t *testing.T) {
	t.Parallel()
	server := testbed.Redis(t, "--loadmodule", searchModule)
	s := serve(t, pool+group("1", "0-1023", server))
	for _, at := range []string{server.Addr(), s.addr} {
		c := redis.NewClient(&redis.Options{Addr: at, Protocol: 2})
		defer c.Close()
		do := func(want string, args ...any) {
			t.Helper()
			got, err := c.Do(t.Context(), args...).Text()
			if err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s: %v: %q, want %q", at, args, got, want)
			}
		}
		do("OK", "FT.CREATE", "idx:"+at, "SCHEMA", "title", "TEXT")
		do("OK", "FT.ADD", "idx:"+at, "doc:"+at, "1.0", "FIELDS", "title", "hello world")
		found, err := c.Do(t.Context(), "FT.SEARCH", "idx:"+at, "hello").Slice()
		if err != nil || len(found) != 3 || found[0] != int64(1) || found[1] != "doc:"+at {
			t.Errorf("%s: FT.SEARCH: %v, %v", at, found, err)
		}
		many, err := c.Do(t.Context(), "FT.MGET", "idx:"+at, "doc:"+at).Slice() // COMMAND tells no key of it.
		if err != nil || len(many) != 1 || many[0] == nil {
			t.Errorf("%s: FT.MGET: %v, %v", at, many, err)
		}
	}
	plain, sluice := commandsOf(t, server.Addr()), commandsOf(t, s.addr)
	for name := range sluice {
		if !plain[name] {
			t.Errorf("COMMAND tells of %s, which the server does not have", name)
		}
	}
	for _, name := range []string{"get", "ft.search", "ft.mget", "ft.sugadd"} {
		if !sluice[name] {
			t.Errorf("COMMAND does not tell of %s", name)
		}
	}
}

// commandsOf are the names that COMMAND has.
func commandsOf(t *testing.T, addr string) map[string]bool {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2})
	defer c.Close()
	list, err := c.Do(t.Context(), "COMMAND").Slice()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, item := range list {
		fields, ok := item.([]any)
		if !ok {
			t.Fatalf("COMMAND: %v", item)
		}
		name, ok := fields[0].(string)
		if !ok {
			t.Fatalf("COMMAND: %v", fields)
		}
		names[strings.ToLower(name)] = true
	}
	count, err := c.Do(t.Context(), "COMMAND", "COUNT").Int()
	if err != nil || count != len(names) {
		t.Errorf("%s: COMMAND COUNT is %d and COMMAND has %d, %v", addr, count, len(names), err)
	}
	return names
}
