package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"sluice/conf"
	"sluice/discovery"
	"sluice/proxy"
)

// reload reads the configuration again and applies what can be applied. On an error nothing changes. It
// returns what is in force now and was not before, and what the file has and waits for a restart, also with an error.
func (in *instance) reload() (applied, restart []string, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.load == nil {
		return nil, nil, errors.New("this process has no configuration file to read again")
	}
	next, err := in.load()
	if err != nil {
		in.log.Error("reload refused, keeping the configuration in force", "err", err)
		return nil, nil, err
	}
	r, err := in.cfg.Reload(next)
	if err != nil {
		if waits := new(conf.NotAppliedError); errors.As(err, &waits) {
			restart = changeTexts(waits.Restart)
		}
		in.log.Error("reload refused, keeping the configuration in force", "err", err, "needs_restart", restart)
		return nil, restart, err
	}
	if err := in.checkTopologies(r.InForce); err != nil {
		in.log.Error("reload refused, keeping the configuration in force", "err", err)
		return nil, nil, err
	}
	ended, err := in.apply(r.InForce)
	in.cfg = r.InForce
	applied, restart = changeTexts(r.Applied), changeTexts(r.Restart)
	if err != nil {
		in.log.Error("configuration reloaded, but not all of it is in force", "err", err, "changed", applied, "needs_restart", restart)
		return applied, restart, err
	}
	for _, name := range ended {
		applied = append(applied, name+": as configured, what CONFIG SET had set is over")
	}
	in.log.Info("configuration reloaded", "applied", applied, "needs_restart", restart)
	return applied, restart, nil
}

// checkTopologies sees that the groups of a configuration are a topology for the slots that pools have.
func (in *instance) checkTopologies(cfg *conf.Config) error {
	for i, s := range in.sources {
		if s.static == nil {
			continue
		}
		if err := (discovery.Snapshot{Groups: groupSpecs(cfg.Pools[i].Groups)}).Validate(s.pool.Model); err != nil {
			return fmt.Errorf("pool %s: nothing was applied, what was in force stays: %w", s.pool.Name, err)
		}
	}
	return nil
}

func changeTexts(changes []conf.Change) []string {
	texts := make([]string, len(changes))
	for i, c := range changes {
		texts[i] = c.String()
	}
	return texts
}

// applyWait is how long a reload waits for a topology to be in force, which takes milliseconds.
const applyWait = 5 * time.Second

// apply puts the reloadable part of next into force, and returns when it is. It returns the parameters whose CONFIG SET that
// has ended.
func (in *instance) apply(next *conf.Config) (ended []string, err error) {
	settings := make([]proxy.PoolSettings, len(in.sources))
	for i, s := range in.sources {
		settings[i] = poolSettings(&next.Pools[i], next, s.pool.Settings().Backend.Name[len(clientNamePrefix):])
	}
	ended = in.server.Reconfigure(func() {
		in.level.Set(next.Proxy.LogLevel.Slog())
		in.server.SetSettings(proxySettings(next))
		for i, s := range in.sources {
			s.pool.SetSettings(settings[i])
		}
	})
	if in.admin != nil {
		in.admin.SetHosts(adminHosts(next))
	}
	late := time.NewTimer(applyWait)
	defer late.Stop()
	var errs []error
	for i, s := range in.sources {
		done := s.apply(&next.Pools[i], in.log)
		if done == nil {
			continue
		}
		select {
		case err := <-done:
			if err != nil {
				errs = append(errs, fmt.Errorf("pool %s: the topology is not in force: %w", s.pool.Name, err))
			}
		case <-late.C:
			errs = append(errs, fmt.Errorf("pool %s: the topology was not in force within %s", s.pool.Name, applyWait))
			late.Reset(0)
		}
	}
	return ended, errors.Join(errs...)
}

// adminHosts are the names under which the admin server may be asked: those of the configuration, the host that it listens on, and
// that of this machine, which no page of another site has.
func adminHosts(cfg *conf.Config) []string {
	names := slices.Clone(cfg.Proxy.AdminHosts)
	if host, _, err := net.SplitHostPort(cfg.Proxy.Admin); err == nil && host != "" {
		names = append(names, host)
	}
	if host, err := os.Hostname(); err == nil && host != "" {
		names = append(names, host)
	}
	return names
}

// apply puts into force what is not a setting of the pool. Pools are in the order of those that the process was started with.
// If groups of the configuration are among it, the channel is told when they are.
func (s *source) apply(p *conf.Pool, log *slog.Logger) (done <-chan error) {
	s.replicas.SetRules(replicaRules(p))
	s.learner.Enable(p.LearnCommands)
	s.watcher.SetRhythm(watchRhythm(p))
	s.watcher.SetAccess(watcherAccess(p, s.pool.Settings().Backend.Name))
	switch {
	case s.consul != nil:
		s.consul.source.SetTimeout(p.Backend.DialTimeout.Std())
		s.consul.source.Refresh() // With the credentials that the pool has by now.
		s.consul.member.SetZone(p.Reads.Zone)
	case s.static != nil:
		return s.static.Set(groupSpecs(p.Groups))
	case s.cluster != nil:
		s.cluster.SetConfig(clusterConfig(p, s.pool.Settings().Backend.Name, log))
	}
	return nil
}
