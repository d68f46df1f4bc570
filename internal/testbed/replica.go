package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/resp"
)

// ReplicaThrough starts a replica of master whose link goes through a relay, waits until it is online, and ends both
// with the test.
func ReplicaThrough(t TB, master *Server, args ...string) (*Server, *Relay) {
	t.Helper()
	relay := StartRelay(t, master.Addr())
	host, port, err := net.SplitHostPort(relay.Addr())
	if err != nil {
		t.Fatalf("%v", err)
	}
	args = append(slices.Clone(args), "--replicaof", host, port)
	if password := passwordOf(master.args); password != "" {
		args = append(args, "--masterauth", password)
	}
	s := Redis(t, args...)
	AwaitReplica(t, master, s)
	return s, relay
}

// AwaitReplica waits until the link of a replica is up and its master has it online, and has heard from it since the
// sync.
func AwaitReplica(t TB, master, replica *Server) {
	t.Helper()
	Eventually(t, func() error { return replica.online(master) }, startTimeout)
}

// AwaitOffset waits until a replica has applied what the master has written up to now.
func AwaitOffset(t TB, master, replica *Server) {
	t.Helper()
	want, err := master.offset("master_repl_offset")
	if err != nil {
		t.Fatalf("%v", err)
	}
	Eventually(t, func() error {
		got, err := replica.offset("slave_repl_offset")
		if err == nil && got < want {
			err = fmt.Errorf("%s is at %d, its master was at %d", replica.Addr(), got, want)
		}
		return err
	}, startTimeout)
}

// ReplicaOf makes the server follow whoever is at addr, host:port, perhaps a relay. The password of a master is to be
// set before, with "--masterauth". A restart goes back to what the command line says.
func (s *Server) ReplicaOf(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	return s.ok("REPLICAOF", host, port)
}

// NoOne makes a replica a master.
func (s *Server) NoOne() error { return s.ok("REPLICAOF", "NO", "ONE") }

// RestartWithData starts the server again on its port with the data it has now: it saves before it is killed.
func (s *Server) RestartWithData() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	err := poll(ctx, func() error {
		err := s.ok("SAVE")
		if err != nil && !strings.Contains(err.Error(), "already in progress") { // The one of a sync.
			return fatalError{err}
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.Restart()
}

// RestartEmpty starts the server again on its port without data, also when a sync or a save has left a file.
func (s *Server) RestartEmpty() error {
	if err := s.Kill(); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(s.dir, "dump.rdb")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return s.Restart()
}

// ok runs a command that must answer OK, or "OK Already connected to specified master".
func (s *Server) ok(args ...string) error {
	if v := s.Do(args...); v.Error() != nil || !strings.HasPrefix(v.String(), "OK") {
		return fmt.Errorf("%s at %s: %s", strings.Join(args, " "), s.Addr(), v)
	}
	return nil
}

// online returns nil when the server is a replica of master and both say that it works.
func (s *Server) online(master *Server) error {
	own, err := s.replication()
	if err != nil {
		return err
	}
	if link := infoField(own, "master_link_status"); link != "up" {
		return fmt.Errorf("%s: master_link_status:%s", s.Addr(), link)
	}
	info, err := master.replication()
	if err != nil {
		return err
	}
	for line := range strings.Lines(info.String()) {
		// The offset is 0 until the replica has acknowledged something after its sync.
		if strings.HasPrefix(line, "slave") && strings.Contains(line, ",port="+strconv.Itoa(s.port)+",state=online,") &&
			!strings.Contains(line, ",offset=0,") {
			return nil
		}
	}
	return fmt.Errorf("%s does not list %s as online:\n%s", master.Addr(), s.Addr(), info)
}

// offset is a number of INFO replication.
func (s *Server) offset(name string) (int64, error) {
	info, err := s.replication()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(infoField(info, name), 10, 64)
}

func (s *Server) replication() (resp.Value, error) {
	return s.control.do(context.Background(), "INFO", "replication")
}
