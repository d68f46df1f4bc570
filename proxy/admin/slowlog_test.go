package admin

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestSlowlogIsEmptyAtFirst(t *testing.T) {
	f := newFixture(t, nil)
	code, body := f.get("/api/v1/slowlog")
	var list SlowLog
	if err := json.Unmarshal([]byte(body), &list); err != nil || code != http.StatusOK || list.Requests == nil || len(list.Requests) != 0 {
		t.Errorf("%d %v %s", code, err, body)
	}
	for _, query := range []string{"?limit=0", "?limit=x", "?limit=10001"} {
		if code, body := f.get("/api/v1/slowlog" + query); code != http.StatusBadRequest || !strings.Contains(body, "is not a whole number from 1 to 10000") {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
}
