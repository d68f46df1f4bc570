package codis

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
)

// The admin API of a proxy (Codis 3.2, pkg/proxy/proxy_api.go). An answer is JSON with status 200, an error is
// {"Cause": text} with status 800, which is what the dashboard's client looks for.
//
//	GET  /                                  to /proxy
//	GET  /proxy                             Overview
//	GET  /proxy/model, /proxy/stats, /proxy/slots
//	GET  /api/proxy/model                   Model
//	GET  /api/proxy/xping/XAUTH             "OK"
//	GET  /api/proxy/stats/XAUTH[/FLAGS]     Stats; bit 0 of FLAGS asks for the commands
//	GET  /api/proxy/slots/XAUTH             []Slot
//	PUT  /api/proxy/start/XAUTH
//	PUT  /api/proxy/shutdown/XAUTH
//	PUT  /api/proxy/fillslots/XAUTH         []Slot
//	PUT  /api/proxy/sentinels/XAUTH         {"servers": [...]}
//	PUT  /api/proxy/sentinels/XAUTH/rewatch
//	PUT  /api/proxy/stats/reset/XAUTH, /api/proxy/forcegc/XAUTH, /api/proxy/loglevel/XAUTH/LEVEL
const statusError = 800

// Overview is the answer to GET /proxy.
type Overview struct {
	Version string            `json:"version"`
	Compile string            `json:"compile"`
	Config  map[string]string `json:"config"`
	Model   Model             `json:"model"`
	Stats   *Stats            `json:"stats"`
	Slots   []Slot            `json:"slots"`
}

// handler answers until ctx ends, which ends a fill too.
func (s *Source) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	open := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			answer(w, r, f)
		})
	}
	guarded := func(pattern string, f func(r *http.Request) (any, error)) {
		open(pattern, func(r *http.Request) (any, error) {
			if err := s.authorize(r.PathValue("xauth")); err != nil {
				return nil, err
			}
			s.called()
			return f(r)
		})
	}
	mux.Handle("GET /{$}", http.RedirectHandler("/proxy", http.StatusFound))
	open("GET /proxy", func(r *http.Request) (any, error) { return s.overview(r.Host), nil })
	open("GET /proxy/model", func(r *http.Request) (any, error) { return s.model.seenAt(r.Host), nil })
	open("GET /proxy/stats", func(*http.Request) (any, error) { return s.stats(statsCommands), nil })
	open("GET /proxy/slots", func(*http.Request) (any, error) { return s.Slots(), nil })
	open("GET /api/proxy/model", func(r *http.Request) (any, error) { return s.model.seenAt(r.Host), nil })

	guarded("GET /api/proxy/xping/{xauth}", func(*http.Request) (any, error) { return "OK", nil })
	guarded("GET /api/proxy/stats/{xauth}", func(*http.Request) (any, error) { return s.stats(0), nil })
	guarded("GET /api/proxy/stats/{xauth}/{flags}", s.statsWithFlags)
	guarded("GET /api/proxy/slots/{xauth}", func(*http.Request) (any, error) { return s.Slots(), nil })
	guarded("PUT /api/proxy/start/{xauth}", s.start)
	guarded("PUT /api/proxy/shutdown/{xauth}", s.shutdown)
	guarded("PUT /api/proxy/fillslots/{xauth}", func(r *http.Request) (any, error) { return s.fillSlots(ctx, r) })
	guarded("PUT /api/proxy/sentinels/{xauth}", func(r *http.Request) (any, error) { return s.setSentinels(ctx, r) })
	guarded("PUT /api/proxy/sentinels/{xauth}/rewatch", func(*http.Request) (any, error) { return s.rewatch(ctx) })
	guarded("PUT /api/proxy/stats/reset/{xauth}", func(*http.Request) (any, error) { return "OK", nil }) // Counters for Prometheus never go back.
	guarded("PUT /api/proxy/forcegc/{xauth}", func(*http.Request) (any, error) { runtime.GC(); return "OK", nil })
	guarded("PUT /api/proxy/loglevel/{xauth}/{value}", func(*http.Request) (any, error) {
		return nil, errors.New("the log level is proxy.log_level of sluice.toml: change it there and reload")
	})
	return mux
}

// answer runs f and writes what it returns.
func answer(w http.ResponseWriter, r *http.Request, f func(r *http.Request) (any, error)) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	value, err := f(r)
	if err != nil {
		w.WriteHeader(statusError)
		value = map[string]any{"Cause": err.Error(), "Stack": []string{}}
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "    ")
	out.SetEscapeHTML(false)
	_ = out.Encode(value)
}

// authorize checks the proof that the caller knows the product's password.
func (s *Source) authorize(xauth string) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return errors.New("the proxy is shutting down")
	case subtle.ConstantTimeCompare([]byte(xauth), []byte(s.xauth)) != 1:
		return errors.New("invalid xauth, please check product name & auth")
	}
	return nil
}

func (s *Source) overview(host string) Overview {
	return Overview{
		Version: s.cfg.Version, Compile: runtime.Version(),
		Config: map[string]string{"product_name": s.cfg.Product, "max_slot_num": strconv.Itoa(s.cfg.Slots)},
		Model:  s.model.seenAt(host), Stats: s.stats(statsCommands), Slots: s.Slots(),
	}
}

func (s *Source) statsWithFlags(r *http.Request) (any, error) {
	flags, err := strconv.ParseUint(r.PathValue("flags"), 10, 32)
	if err != nil {
		return nil, fmt.Errorf("flags %q are not a number", r.PathValue("flags"))
	}
	return s.stats(flags), nil
}

func (s *Source) start(*http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.online = true
	return "OK", nil
}

func (s *Source) shutdown(r *http.Request) (any, error) {
	s.cfg.Log.Warn("codis: the dashboard shuts the proxy down", "from", r.RemoteAddr)
	s.mu.Lock()
	s.closed, s.online = true, false
	s.mu.Unlock()
	s.cfg.Shutdown()
	return "OK", nil
}

// fillSlots does not end with the request: a dashboard that gives up on its call must not leave half a fill behind.
func (s *Source) fillSlots(ctx context.Context, r *http.Request) (any, error) {
	slots, err := decodeSlots(r.Body, s.cfg.Slots)
	if err != nil {
		return nil, fmt.Errorf("slots are not readable: %w", err)
	}
	if err := s.fill(ctx, slots); err != nil {
		return nil, err
	}
	return "OK", nil
}

// decodeSlots reads a list of slots, of which there are n. It may name some of them more than once.
func decodeSlots(body io.Reader, n int) ([]Slot, error) {
	in := json.NewDecoder(body)
	if open, err := in.Token(); err != nil {
		return nil, err
	} else if open != json.Delim('[') {
		return nil, errors.New("want a list")
	}
	var slots []Slot
	for in.More() {
		if len(slots) == 4*n {
			return nil, fmt.Errorf("more than %d slots, of %d", len(slots), n)
		}
		var slot Slot
		if err := in.Decode(&slot); err != nil {
			return nil, err
		}
		slots = append(slots, slot)
	}
	_, err := in.Token()
	return slots, err
}

func (s *Source) setSentinels(ctx context.Context, r *http.Request) (any, error) {
	var in struct {
		Servers []string `json:"servers"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, fmt.Errorf("sentinels are not readable: %w", err)
	}
	if err := s.follow(ctx, in.Servers); err != nil {
		return nil, err
	}
	return "OK", nil
}

func (s *Source) rewatch(ctx context.Context) (any, error) {
	s.mu.Lock()
	servers := s.sentinels
	s.mu.Unlock()
	if err := s.follow(ctx, servers); err != nil {
		return nil, err
	}
	return "OK", nil
}
