package proxy

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/conf"
)

// A value is right for CONFIG SET if, and only if, it is for the configuration file: conf has the bounds.
func TestConfigSetHasTheBoundsOfTheFile(t *testing.T) {
	bounds := make(map[string][2]int64) // in units, microseconds or bytes, by key
	var walk func(prefix string, table reflect.Type)
	walk = func(prefix string, table reflect.Type) {
		for f := range table.Fields() {
			key := prefix + strings.Split(f.Tag.Get("toml"), ",")[0]
			if f.Type.Kind() == reflect.Struct {
				walk(key+".", f.Type)
			}
			if f.Tag.Get("min") != "" && f.Type.Kind() != reflect.Pointer {
				bounds[key] = [2]int64{number(t, f.Tag.Get("min"), f.Type), number(t, f.Tag.Get("max"), f.Type)}
			}
		}
	}
	walk("proxy.", reflect.TypeFor[conf.Proxy]())
	walk("", reflect.TypeFor[conf.Pool]())
	same := map[string]string{ // The keys of Redis' parameters.
		"maxclients": "proxy.max_clients", "proto-max-bulk-len": "proxy.limits.max_bulk",
		"slowlog-max-len": "proxy.slowlog_max_len",
	}
	checked := 0
	for _, p := range configParams {
		key := p.Name
		if same[key] != "" {
			key = same[key]
		}
		b, ok := bounds[key]
		if !ok || p.Set == nil {
			continue
		}
		checked++
		f := &configuration{client: &client{loop: &loop{server: new(Server)}}}
		unit := ""
		if _, err := time.ParseDuration(p.Get(f)); err == nil && p.Get(f) != "0" {
			unit = "us"
		}
		for n, right := range map[int64]bool{b[0]: true, b[1]: true, b[0] - 1: false, b[1] + 1: false} {
			if wrong := p.Set(f, strconv.FormatInt(n, 10)+unit); (wrong == "") != right {
				t.Errorf("%s %d%s: %q, the file has %d to %d", p.Name, n, unit, wrong, b[0], b[1])
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d parameters were found in the file", checked)
	}
}

// number reads the bound of a key of type of.
func number(t *testing.T, text string, of reflect.Type) int64 {
	switch of {
	case reflect.TypeFor[conf.Duration]():
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return d.Microseconds()
	case reflect.TypeFor[conf.Bytes]():
		if text == "0" {
			return 0
		}
		n, err := conf.ParseBytes(text)
		if err != nil {
			t.Fatal(err)
		}
		return int64(n)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
