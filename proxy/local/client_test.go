package local

import (
	"strings"
	"testing"
)

func TestWhatAClientSaysOfItself(t *testing.T) {
	c := newTestClient()
	c.peer.ID = 7
	c.want(t, ":7\r\n", "CLIENT ID")
	c.want(t, "$-1\r\n", "CLIENT GETNAME")
	c.want(t, "+OK\r\n", "CLIENT SETNAME worker-1")
	c.want(t, "$8\r\nworker-1\r\n", "CLIENT GETNAME")
	c.want(t, "-"+ErrClientName+"\r\n", "CLIENT SETNAME w\xff")
	c.want(t, "+OK\r\n", "CLIENT SETINFO LIB-NAME lib")
	c.want(t, "+OK\r\n", "CLIENT SETINFO lib-ver 1.2")
	c.want(t, "-ERR Unrecognized option 'LIB-FOO'\r\n", "CLIENT SETINFO LIB-FOO x")
	c.want(t, "-ERR lib-ver cannot contain spaces, newlines or special characters.\r\n", "CLIENT SETINFO LIB-VER 1\x7f")
	c.want(t, "+OK\r\n", "CLIENT SETINFO Sluice-Reads MASTER")
	c.want(t, "-ERR no\r\n", "CLIENT SETINFO sluice-reads x")
	c.want(t, "+OK\r\n", "CLIENT NO-TOUCH on")
	c.want(t, "+OK\r\n", "CLIENT NO-EVICT ON")
	c.want(t, "+OK\r\n", "CLIENT NO-EVICT off")
	c.want(t, "-ERR syntax error\r\n", "CLIENT NO-TOUCH x")
	if want := (Identity{Name: "worker-1", LibName: "lib", LibVer: "1.2", NoTouch: true}); c.id != want {
		t.Errorf("%+v, want %+v", c.id, want)
	}
	refused := "-ERR client-side caching is not supported through Sluice: " +
		"CLIENT TRACKING takes only OFF and, in RESP3, ON OPTIN\r\n"
	c.want(t, refused, "CLIENT TRACKING ON OPTIN")
	c.want(t, ":-1\r\n", "CLIENT GETREDIR")
	c.resp3 = true
	c.want(t, "+OK\r\n", "CLIENT TRACKING ON OPTIN")
	c.want(t, ":0\r\n", "CLIENT GETREDIR")
	c.want(t, "%3\r\n$5\r\nflags\r\n~2\r\n$2\r\non\r\n$5\r\noptin\r\n$8\r\nredirect\r\n:0\r\n$8\r\nprefixes\r\n*0\r\n",
		"CLIENT TRACKINGINFO")
	c.want(t, refused, "CLIENT TRACKING ON BCAST")
	if got := c.do("CLIENT INFO"); !strings.Contains(got, "id=7 ") || !strings.Contains(got, " flags=tT ") ||
		!strings.Contains(got, " name=worker-1 ") || !strings.Contains(got, " redir=0 ") {
		t.Errorf("%q", got)
	}
}

func TestFiltersOfClients(t *testing.T) {
	c := newTestClient()
	c.users = []User{{Name: "app"}, {Name: "default"}}
	c.peer = Peer{ID: 1, Type: TypeNormal, Addr: "1:1", LocalAddr: "2:2", User: "app", Known: true}
	peers := []Peer{c.peer,
		{ID: 2, Type: TypePubSub, Addr: "1:2", LocalAddr: "2:2", User: "app", Known: true},
		{ID: 3, Type: TypeNormal, Addr: "1:3", LocalAddr: "2:3", User: "default"}}
	f := func(want, line string) {
		t.Helper()
		args := bytesOf(strings.Fields(line))
		filter, refusal := KillFilter(c, args)
		if strings.HasPrefix(line, "CLIENT LIST") {
			filter, refusal = ListFilter(args)
		}
		got := refusal
		for _, p := range peers {
			if refusal == "" && filter.Takes(p) {
				got += string(rune('0' + p.ID))
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	f("123", "CLIENT LIST")
	f("13", "CLIENT LIST TYPE Normal")
	f("", "CLIENT LIST type slave")
	f("23", "CLIENT LIST ID 2 3 4")
	f("ERR Invalid client ID", "CLIENT LIST ID x")
	f("ERR Unknown client type 'x'", "CLIENT LIST TYPE x")
	f(ErrSyntax, "CLIENT LIST ID")
	f("1", "CLIENT KILL 1:1")
	f("2", "CLIENT KILL LADDR 2:2")
	f("12", "CLIENT KILL LADDR 2:2 SKIPME no")
	f("2", "CLIENT KILL USER app")
	f("", "CLIENT KILL USER default")
	f("ERR No such user 'x'", "CLIENT KILL USER x")
	f("ERR client-id should be greater than 0", "CLIENT KILL ID 0")
	f("3", "CLIENT KILL TYPE normal SKIPME yes")
	f(ErrSyntax, "CLIENT KILL ID 1 ADDR")
	for line, want := range map[string]string{"CLIENT KILL 1:1": "+OK\r\n", "CLIENT KILL ID 1": ":1\r\n"} {
		filter, _ := KillFilter(c, bytesOf(strings.Fields(line)))
		if got := string(filter.AppendKilled(nil, 1)); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func TestLinesOfClientsAreInOrder(t *testing.T) {
	got := string(AppendClients(nil, []Description{
		{Peer: Peer{ID: 2, Type: TypePubSub}, Multi: 3, Unsent: 5, Held: 2, Memory: 10, Proto: 3, Command: "get"},
		{Peer: Peer{ID: 1, Type: TypeNormal, Addr: "a", LocalAddr: "/s", User: "u"}, Multi: -1, FD: 9, DB: 4, Command: "NULL"},
	}, true))
	const want = "id=1 addr=a laddr=/s fd=9 name= age=0 idle=0 flags=U db=4 sub=0 psub=0 ssub=0 multi=-1" +
		" qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r" +
		" cmd=NULL user=u redir=-1 resp=0 lib-name= lib-ver= pool= inflight=0 proxy=\n" +
		"id=2 addr= laddr= fd=0 name= age=0 idle=0 flags=Px db=0 sub=0 psub=0 ssub=0 multi=3" +
		" qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=7 tot-mem=17 events=rw" +
		" cmd=get user= redir=-1 resp=3 lib-name= lib-ver= pool= inflight=0 proxy=\n"
	if _, text, _ := strings.Cut(got, "txt:"); text != want+"\r\n" {
		t.Errorf("%q\nwant %q", got, want)
	}
}
