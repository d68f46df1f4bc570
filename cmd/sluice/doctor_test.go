package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
	"sluice/internal/testbed/fakedragonfly"
)

// doctorSays runs the doctor on a configuration and returns what it prints.
func doctorSays(t *testing.T, config string) (string, int) {
	t.Helper()
	path := config
	if strings.Contains(config, "\n") {
		path = filepath.Join(t.TempDir(), "sluice.toml")
		write(t, path, config)
	}
	out, notes, exit := sluice(t, "doctor", "-c", path)
	if notes != "" {
		t.Errorf("on stderr: %s", notes)
	}
	return out, exit
}

func hasLines(t *testing.T, out string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+out, "\n"+line) {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}
}

func poolOn(admin string, rest string) string {
	return fmt.Sprintf(`
[proxy]
admin = %q
max_clients = 10
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:6380"]
slot_model = "codis"
%s
`, admin, rest)
}

func groupOn(master, replica string) string {
	return fmt.Sprintf("[[pool.group]]\nid = \"1\"\nmaster = %q\nreplicas = [%q]\nslots = \"0-1023\"\n", master, replica)
}

func TestDoctorFindsAGroupWell(t *testing.T) {
	t.Parallel()
	good := []string{"--repl-backlog-size", "64mb", "--min-replicas-to-write", "1", "--repl-diskless-sync-delay", "0"}
	master := testbed.Redis(t, good...)
	replica := testbed.Replica(t, master, good...)
	admin := freeAddr(t)
	out, exit := doctorSays(t, poolOn(admin, groupOn(master.Addr(), replica.Addr())))
	hasLines(t, out, "OK    configuration: ", "OK    open files: ulimit -Hn ", "OK    admin port: "+admin+" is free\n",
		"OK    backend "+master.Addr()+": pool main, group 1: redis 7.", "OK    backend "+replica.Addr()+": pool main, group 1: redis 7.",
		"OK    clocks of the backends: 2 agree with this host\n", "OK    settings: those for replication are fine on 2 server(s)\n",
		"7 OK, 0 WARN, 0 FAIL\n")
	if exit != 0 {
		t.Errorf("exit %d\n%s", exit, out)
	}
}

func TestDoctorFindsWhatIsWrongWithBackends(t *testing.T) {
	t.Parallel()
	master, other := testbed.Redis(t, "--requirepass", "hunter2"), testbed.Redis(t)
	dead := freeAddr(t)
	out, exit := doctorSays(t, poolOn("", groupOn(master.Addr(), dead)))
	hasLines(t, out, "WARN  admin port: the admin server is turned off; do: ",
		"FAIL  backend "+master.Addr()+": pool main, group 1: INFO: NOAUTH Authentication required.; do: it asks for a password: set backend_password of [pool.auth]\n",
		"FAIL  backend "+dead+": pool main, group 1: dial tcp "+dead+": connect: connection refused; do: start it, or correct the address: nothing listens there\n")
	if exit != 1 {
		t.Errorf("exit %d", exit)
	}
	const auth = "[pool.auth]\nbackend_password = %q\n"
	out, _ = doctorSays(t, poolOn("", groupOn(master.Addr(), other.Addr())+fmt.Sprintf(auth, "wrong")))
	hasLines(t, out, "FAIL  backend "+master.Addr()+": pool main, group 1: AUTH: WRONGPASS", "FAIL  backend "+other.Addr()+": pool main, group 1: AUTH: ERR AUTH")
	if !strings.Contains(out, "do: it wants no password: remove backend_password") || strings.Contains(out, "hunter2") {
		t.Error(out)
	}
	out, _ = doctorSays(t, poolOn("", groupOn(master.Addr(), dead)+fmt.Sprintf(auth, "hunter2")))
	hasLines(t, out, "OK    backend "+master.Addr(), "WARN  settings: repl-backlog-size 1mb is small", "WARN  settings: min-replicas-to-write 0")

	out, _ = doctorSays(t, poolOn("", groupOn(testbed.Redis(t).Addr(), other.Addr())))
	hasLines(t, out, "FAIL  backend "+other.Addr()+": pool main, group 1: configured as replica, but it is a master: its data is not that of the group; do: REPLICAOF 127.0.0.1 ")
	turned := testbed.Replica(t, other)
	out, _ = doctorSays(t, poolOn("", groupOn(turned.Addr(), other.Addr())))
	hasLines(t, out, "FAIL  backend "+turned.Addr()+": pool main, group 1: configured as master, but it is a replica of "+other.Addr()+"; do: ")
	third := testbed.Redis(t)
	out, _ = doctorSays(t, poolOn("", groupOn(third.Addr(), turned.Addr())))
	hasLines(t, out, "WARN  backend "+turned.Addr()+": pool main, group 1: it follows "+other.Addr()+", the configured master is "+third.Addr())
}

// A server of another family than the pool's dialect shows itself in its first strange reply, or before: here.
func TestDoctorComparesTheDialect(t *testing.T) {
	t.Parallel()
	pika, redis := fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{}), testbed.Redis(t)
	pool := func(dialect, master, reads string) string {
		config := poolOn("", groupOn(master, freeAddr(t)))
		return strings.Replace(config, "[[pool]]\n", "[[pool]]\ndialect = \""+dialect+"\"\n", 1) + reads
	}
	out, exit := doctorSays(t, pool("redis", pika.Addr(), ""))
	hasLines(t, out, "FAIL  backend "+pika.Addr()+": pool main, group 1: it is pika 4.0.0, and the pool has dialect \"redis\"; do: set dialect = \"pika\", or correct the address\n")
	if exit != 1 {
		t.Errorf("exit %d", exit)
	}
	out, _ = doctorSays(t, pool("pika", redis.Addr(), ""))
	hasLines(t, out, "FAIL  backend "+redis.Addr()+": pool main, group 1: it is redis 7.")
	out, _ = doctorSays(t, pool("pika", pika.Addr(), ""))
	hasLines(t, out, "OK    backend "+pika.Addr()+": pool main, group 1: pika 4.0.0, master\n")
	out, _ = doctorSays(t, pool("pika", pika.Addr(), "[pool.reads]\npolicy = \"prefer-replica\"\n"))
	hasLines(t, out, "WARN  backend "+pika.Addr()+": pool main, group 1: Pika 4.0.0 replicates SET with EX or PX, and SETEX, as keys that have expired; do: let them ")
}

// The dialect and the port for questions about migrations are compared with what is there: by the doctor, by config
// check, and at the start.
func TestDialectAndAdminPortAreChecked(t *testing.T) {
	t.Parallel()
	dragonfly := fakedragonfly.Start(t, fakedragonfly.Options{})
	pika := fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{})
	nobody := testbed.FreePort(t)
	config := poolOn("127.0.0.1:0", groupOn(dragonfly.Addr(), freeAddr(t))) + fmt.Sprintf("[pool.discovery]\nadmin_port = \"%d\"\n", nobody)
	config = strings.Replace(config, "[[pool]]\n", "[[pool]]\ndialect = \"dragonfly\"\n", 1)
	out, _ := doctorSays(t, config)
	hasLines(t, out, fmt.Sprintf("FAIL  backend %s: pool main, group 1: it can't be asked about migrations at 127.0.0.1:%d: ", dragonfly.Addr(), nobody))

	pool := func(master string) string {
		return strings.Replace(poolOn("127.0.0.1:0", groupOn(master, freeAddr(t))), "127.0.0.1:6380", "127.0.0.1:0", 1)
	}
	file := filepath.Join(t.TempDir(), "sluice.toml")
	write(t, file, pool(pika.Addr()))
	out, _, exit := sluice(t, "config", "check", "--connect", file)
	hasLines(t, out, "FAIL  backend "+pika.Addr()+": pool main, group 1: it is pika 4.0.0, and the pool has dialect \"redis\"; do: set dialect = \"pika\"")
	if exit != 1 {
		t.Errorf("exit %d", exit)
	}
	start(t, "serve", "--config", file).waitFor(t, `"server":"pika 4.0.0","dialect":"redis"`)
}

func TestDoctorLooksAtTheAdminPort(t *testing.T) {
	t.Parallel()
	backends := groupOn(freeAddr(t), freeAddr(t))
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	taken := other.Listener.Addr().String()
	out, exit := doctorSays(t, poolOn(taken, backends))
	hasLines(t, out, "FAIL  admin port: "+taken+" is taken, and not by a Sluice of this version; do: ")
	if exit != 1 {
		t.Errorf("exit %d", exit)
	}
	out, _ = doctorSays(t, poolOn(answering(t, 200, "application/json", `{"well": true, "version": "1.2", "pools": []}`), backends))
	if !strings.Contains(out, ": Sluice 1.2 runs there, and is well\n") {
		t.Error(out)
	}
	out, _ = doctorSays(t, poolOn(answering(t, 200, "application/json", `{"problems": ["pool main: no topology yet"], "version": "1.2", "pools": []}`), backends))
	if !strings.Contains(out, "Sluice 1.2 runs there, and is not well: pool main: no topology yet; do: sluice ctl status --admin ") {
		t.Error(out)
	}
}

func TestDoctorNamesEveryProblemOfTheConfiguration(t *testing.T) {
	out, exit := doctorSays(t, "[proxy]\nlops = 1\n")
	hasLines(t, out, "FAIL  configuration: ", "OK    open files: ", "1 OK, 0 WARN, 2 FAIL\n")
	if !strings.Contains(out, "proxy.lops: unknown key; do: did you mean loops?\n") || exit != 1 {
		t.Errorf("exit %d\n%s", exit, out)
	}
	t.Chdir(t.TempDir())
	out, _, exit = sluice(t, "doctor")
	hasLines(t, out, "FAIL  configuration: there is no sluice.toml here; do: name the file with --config")
	if exit != 1 {
		t.Errorf("exit %d", exit)
	}
}

func TestDoctorChecksConsul(t *testing.T) {
	t.Parallel()
	server := testbed.Consul(t)
	config := configured(t, server, consulPool)
	out, exit := doctorSays(t, config)
	hasLines(t, out, "OK    consul: reachable at "+server.Addr()+", the leader is 127.0.0.1:", "OK    clock against consul: they agree\n",
		"WARN  consul, pool main: there is no topology in sluice/main/ yet: the pool will wait for one; do: sluice ctl topology init\n",
		"OK    consul, pool main: can make a session of 1s and write below sluice/main/proxies/\n")
	if exit != 0 {
		t.Errorf("exit %d\n%s", exit, out)
	}
	if code, body, err := server.Do("GET", "/v1/kv/sluice/?keys", ""); err != nil || code != 404 {
		t.Errorf("the doctor has left keys: %d %s %v", code, body, err)
	}
	if _, body, err := server.Do("GET", "/v1/session/list", ""); err != nil || body != "[]" {
		t.Errorf("the doctor has left a session: %s %v", body, err)
	}

	// Nodes of the topology are backends, written down or not.
	master := testbed.Redis(t)
	replica := testbed.Replica(t, master)
	host, port, _ := net.SplitHostPort(replica.Addr())
	if code, body, err := server.Do("PUT", "/v1/agent/service/register", fmt.Sprintf(
		`{"Name": "redis", "ID": "r", "Address": %q, "Port": %s, "Meta": {"pool": "main"}, "Tags": ["group=2"]}`, host, port)); err != nil || code != 200 {
		t.Fatalf("%d %s %v", code, body, err)
	}
	if _, notes, err := askCtl(t, "", "topology", "init", "-c", config, "--groups", "1="+master.Addr(), "--groups", "2,3"); err != nil {
		t.Fatalf("%v %s", err, notes)
	}
	testbed.Eventually(t, func() error { // The agent tells the catalog when it comes to it.
		if out, exit = doctorSays(t, config); strings.Contains(out, "group 2 names no nodes") {
			return fmt.Errorf("%s", out)
		}
		return nil
	}, 10*time.Second)
	hasLines(t, out, "OK    consul, pool main: sluice/main/ has epoch 1 with 3 group(s)\n", "OK    backend "+master.Addr()+": pool main, group 1: redis 7.",
		"OK    backend "+replica.Addr()+": pool main, group 2: redis 7.", "FAIL  pool main, group 2: no node says that it is the master; do: ",
		"FAIL  consul, pool main: group 3 names no nodes, and no passing service \"redis\" is of it; do: register its nodes")
	if exit != 1 {
		t.Errorf("exit %d\n%s", exit, out)
	}
}

func TestDoctorNamesTheRuleThatATokenLacks(t *testing.T) {
	t.Parallel()
	server := testbed.Consul(t, testbed.ConsulOptions{ACL: true})
	config := configured(t, server, consulPool)
	out, exit := doctorSays(t, config)
	hasLines(t, out, "OK    consul: reachable", "FAIL  consul, pool main: cannot read sluice/main/topology/: ", "FAIL  consul, pool main: cannot make a session: ")
	for _, has := range []string{
		`do: give the token the policy of etc/consul/proxy.hcl, which has: key_prefix "sluice/main/" { policy = "read" }`,
		`which has: session_prefix "" { policy = "write" }`,
	} {
		if !strings.Contains(out, has) {
			t.Errorf("no %q in\n%s", has, out)
		}
	}
	if exit != 1 {
		t.Errorf("exit %d", exit)
	}
}

func TestDoctorSpeaksTLSToConsul(t *testing.T) {
	t.Parallel()
	server := testbed.Consul(t, testbed.ConsulOptions{TLS: true, VerifyClients: true})
	ca, cert, key := server.TLSFiles()
	config := fmt.Sprintf("[consul]\naddress = %q\nsession_ttl = \"1s\"\nca_file = %q\n%%s\n%s", server.URL(), ca, consulPool)
	out, exit := doctorSays(t, fmt.Sprintf(config, fmt.Sprintf("cert_file = %q\nkey_file = %q", cert, key)))
	hasLines(t, out, "OK    consul: reachable at https://", "OK    clock against consul: they agree\n", "OK    consul, pool main: can make a session")
	if exit != 0 {
		t.Errorf("exit %d\n%s", exit, out)
	}
	if out, exit = doctorSays(t, fmt.Sprintf(config, "")); exit != 1 || !strings.Contains(out, "FAIL  consul: ") {
		t.Errorf("without a certificate: exit %d\n%s", exit, out)
	}
}

func TestDoctorWithoutConsul(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	out, exit := doctorSays(t, fmt.Sprintf("[consul]\naddress = %q\n%s", addr, consulPool))
	hasLines(t, out, "FAIL  consul: ")
	if !strings.Contains(out, addr+": connect: connection refused; do: start the agent, or set [consul] address") || exit != 1 {
		t.Errorf("exit %d\n%s", exit, out)
	}
}
