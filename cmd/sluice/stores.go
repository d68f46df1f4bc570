package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"

	"sluice/internal/testbed"
)

// devGroups is the number of groups of the playground, each a master and a replica.
const devGroups = 2

// startTimeout bounds the start of the playground's servers.
const startTimeout = 20 * time.Second

var errNoRedis = testbed.ErrNoRedis

// redisStores are real redis-server processes without persistence. They die with this process.
type redisStores struct{ servers [][]*testbed.Server }

func startRedisStores(ctx context.Context) (stores, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s := &redisStores{}
	for range devGroups {
		master, err := testbed.StartRedis(ctx, testbed.Options{})
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.servers = append(s.servers, []*testbed.Server{master})
		// The replica syncs while the proxy starts; an empty master has little to send.
		replica, err := testbed.StartRedis(ctx, testbed.Options{
			Args: []string{"--replicaof", "127.0.0.1", fmt.Sprint(master.Port())},
		})
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.servers[len(s.servers)-1] = append(s.servers[len(s.servers)-1], replica)
	}
	return s, nil
}

func (s *redisStores) groups() [][]string {
	out := make([][]string, len(s.servers))
	for i, group := range s.servers {
		for _, server := range group {
			out[i] = append(out[i], server.Addr())
		}
	}
	return out
}

func (s *redisStores) describe() string {
	var b strings.Builder
	for i, group := range s.servers {
		fmt.Fprintf(&b, "  group %d             redis-server %s (pid %d), replica %s (pid %d)\n",
			i+1, group[0].Addr(), group[0].PID(), group[1].Addr(), group[1].PID())
	}
	return b.String()
}

func (s *redisStores) close() error {
	var errs []error
	for _, group := range s.servers {
		for _, server := range group {
			errs = append(errs, server.Close())
		}
	}
	return errors.Join(errs...)
}

// embeddedStores are in-process stores; they know no replication, so each group is a master alone.
type embeddedStores struct{ servers []*miniredis.Miniredis }

func startEmbeddedStores() (stores, error) {
	s := &embeddedStores{}
	for range devGroups {
		server := miniredis.NewMiniRedis()
		if err := server.StartAddr("127.0.0.1:0"); err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.servers = append(s.servers, server)
	}
	return s, nil
}

func (s *embeddedStores) groups() [][]string {
	out := make([][]string, len(s.servers))
	for i, server := range s.servers {
		out[i] = []string{server.Addr()}
	}
	return out
}

func (s *embeddedStores) describe() string {
	var b strings.Builder
	for i, server := range s.servers {
		fmt.Fprintf(&b, "  group %d             embedded store %s (in this process, no replica)\n", i+1, server.Addr())
	}
	return b.String()
}

func (s *embeddedStores) close() error {
	for _, server := range s.servers {
		server.Close()
	}
	return nil
}
