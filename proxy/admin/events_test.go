package admin

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"sluice/discovery/replication"
)

func TestEventsAreListedOldestFirst(t *testing.T) {
	j := replication.NewJournal(0)
	for range 150 {
		j.Add(replication.Event{Pool: "main", Group: "1", Node: "127.0.0.1:1", Kind: "state", From: "in sync", To: "lagging", Reason: "why"})
	}
	f := newFixture(t, func(cfg *Config, _ *fixture) { cfg.Events = j.Since })
	check := func(query string, first, last uint64) {
		t.Helper()
		code, body := f.get("/api/v1/events" + query)
		var list EventList
		if err := json.Unmarshal([]byte(body), &list); err != nil || code != http.StatusOK {
			t.Fatalf("%d %v", code, err)
		}
		n := len(list.Events)
		if n == 0 || list.Events[0].ID != first || list.Events[n-1].ID != last || uint64(n) != last-first+1 {
			t.Errorf("%s: %d events in %s", query, n, body)
		}
	}
	check("", 51, 150)
	check("?limit=2", 149, 150)
	check("?since=147", 148, 150)
	check("?since=10&limit=1000", 11, 150)
}

func TestEventsRefusesBadNumbers(t *testing.T) {
	f := newFixture(t, nil)
	for query, want := range map[string]string{
		"?since=x":       `since: "x" is not a whole number from 0 to 18446744073709551615`,
		"?since=-1":      `since: "-1" is not a whole number from 0 to 18446744073709551615`,
		"?limit=0":       `limit: "0" is not a whole number from 1 to 10000`,
		"?limit=10001":   `limit: "10001" is not a whole number from 1 to 10000`,
		"?limit=":        `limit: "" is not a whole number from 1 to 10000`,
		"?limit=9&since": `since: "" is not a whole number from 0 to 18446744073709551615`,
	} {
		if code, body := f.get("/api/v1/events" + query); code != http.StatusBadRequest || strings.TrimSpace(body) != want {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
}
