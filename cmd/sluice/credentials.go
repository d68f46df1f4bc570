package main

import (
	"context"
	"slices"
	"time"
)

// passwordPause is the time between two looks at a password file.
const passwordPause = time.Second

// watchPassword reads the file with a pool's password again when something is wrong with one of its servers, and
// while one does not answer: that may be that the password was changed, in the server and in the file, and nobody has
// said so. It runs until ctx ends.
func (in *instance) watchPassword(ctx context.Context, pool int) {
	s := in.sources[pool]
	look := time.NewTicker(passwordPause)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		amiss := s.pool.ProbesFail()
		select {
		case <-s.amiss:
			amiss = true
		default:
		}
		if amiss {
			in.readPassword(pool)
		}
	}
}

// readPassword puts the password in a pool's file into force if it is another one than before. CONFIG SET stays in
// force.
func (in *instance) readPassword(pool int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	s, auth := in.sources[pool], in.cfg.Pools[pool].Auth
	if auth.BackendPasswordFile == "" {
		return
	}
	password, err := in.cfg.ReadPassword(auth.BackendPasswordFile)
	if err != nil {
		in.log.Warn("the file with the password for the servers can't be read, keeping the one in force", "pool", s.pool.Name, "err", err)
		return
	}
	if password == auth.BackendPassword {
		return
	}
	next := *in.cfg
	next.Pools = slices.Clone(next.Pools)
	next.Pools[pool].Auth.BackendPassword = password
	in.cfg = &next
	settings := *s.pool.Settings()
	settings.Backend.Password = password.Reveal()
	s.pool.SetSettings(settings)
	_ = s.apply(&next.Pools[pool], in.log) // The groups are the same.
	in.log.Info("the password for the servers was read again", "pool", s.pool.Name, "file", auth.BackendPasswordFile)
}
