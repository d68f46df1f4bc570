package check

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"sluice/bench/load"
)

// batchCommands is how many commands are sent at once before and after the load.
const batchCommands = 128

// preloadLimit bounds the writing of keys before the load.
const preloadLimit = 2 * time.Minute

// preload brings every key into the state its model starts with.
func (r *Run) preload(ctx context.Context) error {
	w := wire{addr: r.cfg.Addr}
	if err := w.dial(ctx); err != nil {
		return err
	}
	defer w.hangUp()
	w.deadline(time.Now().Add(preloadLimit))
	var commands [][]string
	flush := func() error {
		var bad error
		err := w.exchange(commands, func(i int, reply load.Reply) {
			if reply.Kind == '-' && bad == nil {
				bad = fmt.Errorf("%s %s: %s", commands[i][0], commands[i][1], reply.Body)
			}
		})
		commands = commands[:0]
		if err == nil {
			err = bad
		}
		if err == nil {
			err = ctx.Err()
		}
		return err
	}
	err := r.initial(func(args ...string) error {
		if commands = append(commands, args); len(commands) < batchCommands {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return fmt.Errorf("preload: %w", err)
	}
	return nil
}

// initial calls add with the commands that make the initial state.
func (r *Run) initial(add func(args ...string) error) error {
	for _, c := range r.clients {
		for _, k := range c.values {
			command := []string{"DEL", k.key}
			if k.base != "" {
				command = []string{"SET", k.key, k.base}
			}
			if err := add(command...); err != nil {
				return err
			}
		}
		for _, k := range c.counters {
			command := []string{"DEL", k.key}
			if k.loaded {
				command = []string{"SET", k.key, strconv.FormatInt(k.start, 10)}
			}
			if err := add(command...); err != nil {
				return err
			}
		}
		for _, h := range c.hashes {
			if err := add("DEL", h.key); err != nil {
				return err
			}
		}
	}
	for _, o := range r.space.observed {
		if err := add("SET", o.key, o.reg.base); err != nil {
			return err
		}
	}
	for _, x := range r.sessions.streams {
		if err := add("XGROUP", "CREATE", x.key, groupName, "0", "MKSTREAM"); err != nil {
			return err
		}
	}
	for _, key := range r.space.filler {
		if err := add("SET", key, key); err != nil {
			return err
		}
	}
	return nil
}
