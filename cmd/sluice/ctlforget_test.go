package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/testbed"
)

func TestCtlProxiesForget(t *testing.T) {
	t.Parallel()
	server := testbed.Consul(t)
	file := configured(t, server, consulPool)
	do := func(method, path, body string) string {
		t.Helper()
		code, answer, err := server.Do(method, "/v1/"+path, body)
		if err != nil || code != 200 {
			t.Fatalf("%s %s: %d %s %v", method, path, code, answer, err)
		}
		return answer
	}
	var session struct{ ID string }
	if err := json.Unmarshal([]byte(do("PUT", "session/create", `{"Behavior": "delete", "LockDelay": "1ms", "Checks": []}`)), &session); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		do("PUT", "kv/sluice/main/members/"+id, fmt.Sprintf(`{"id":%q,"name":"sluice:%s","last_seen_epoch":7}`, id, id))
		do("PUT", "kv/sluice/main/proxies/"+id+"?acquire="+session.ID, fmt.Sprintf(`{"id":%q,"state":"serving"}`, id))
	}
	do("PUT", "kv/sluice/main/acks/a?acquire="+session.ID, `{"epoch":7}`)
	there := func() string {
		t.Helper()
		var ids []string
		for _, p := range listProxiesOf(t, server).Proxies {
			ids = append(ids, p.ID+" "+p.State)
		}
		return strings.Join(ids, ", ")
	}
	refused := func(want, input string, args ...string) {
		t.Helper()
		before := there()
		out, _, err := askCtl(t, input, append([]string{"proxies", "forget", "-c", file}, args...)...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(out, "is forgotten") {
			t.Errorf("%q: %v\n%s\nwant %s", args, err, out, want)
		}
		if after := there(); after != before {
			t.Errorf("%q: refused, and of %s is left %s", args, before, after)
		}
	}
	refused("its session is not over: the proxy lives, or has ended just now", "", "a", "--yes")
	do("PUT", "session/destroy/"+session.ID, "")
	do("PUT", "kv/sluice/main/acks/a", `{"epoch":7}`) // By hand, or by a proxy of another make.
	refused("not written, as you say", "n\n", "a")
	refused("sluice/main/members/c: there is no such proxy; `sluice ctl proxies` shows those of pool main", "", "c", "--yes")
	refused("there is no such proxy", "", "", "--yes")
	refused("accepts 1 arg(s), received 0", "")
	if got := there(); got != "a gone, b gone" {
		t.Fatal(got)
	}
	out, notes, err := askCtl(t, "y\n", "proxies", "forget", "a", "-c", file)
	want := "proxy a of pool main; its connections to servers are called sluice:a#N in CLIENT LIST\nhas its process ended? [y/N] proxy a of pool main is forgotten\n"
	if err != nil || notes != "" || out != want {
		t.Errorf("%v %s\n%s\nwant\n%s", err, notes, out, want)
	}
	if got := there(); got != "b gone" {
		t.Errorf("left are %s", got)
	}
	refused("there is no such proxy", "", "a", "--yes")
}
