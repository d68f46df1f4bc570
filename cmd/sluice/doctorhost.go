package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"sluice/conf"
	"sluice/proxy/admin"
)

// configFlag is the file that a flag or the environment names.
func configFlag(flag string) string { return cmp.Or(flag, os.Getenv("SLUICE_CONFIG")) }

// checkFiles compares the limit on open files with the clients that are wanted. Sluice raises its soft limit by itself, so
// the hard one counts.
func (d *doctor) checkFiles() {
	wanted := conf.Default().Proxy.MaxClients
	if d.cfg != nil {
		wanted = d.cfg.Proxy.MaxClients
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		d.found(warn, "open files", "look at ulimit -Hn", "the limit can't be read: %v", err)
		return
	}
	if limit.Max > math.MaxInt32 || int(limit.Max) >= wanted+reservedFiles {
		d.found(fine, "open files", "", "ulimit -Hn %s here, max_clients %d needs %d", limitText(limit.Max), wanted, wanted+reservedFiles)
		return
	}
	d.found(warn, "open files", fmt.Sprintf("raise it to %d: LimitNOFILE= of the systemd unit, or ulimit -n; or lower max_clients", wanted+reservedFiles),
		"ulimit -Hn %d here, max_clients %d needs %d: fewer clients will be let in", limit.Max, wanted, wanted+reservedFiles)
}

func limitText(n uint64) string {
	if n > math.MaxInt32 {
		return "unlimited"
	}
	return fmt.Sprint(n)
}

// checkAdmin sees whether the admin port is free, or a Sluice's.
func (d *doctor) checkAdmin(ctx context.Context) {
	const subject = "admin port"
	if d.cfg.Proxy.Admin == "" {
		d.found(warn, subject, "set [proxy] admin to see metrics and health, and for sluice ctl", "the admin server is turned off")
		return
	}
	c := newCtl()
	c.admin = d.cfg.Proxy.Admin
	addr, err := c.addr()
	if err != nil {
		d.found(fine, subject, "", "%s: any free one", d.cfg.Proxy.Admin)
		return
	}
	ctx, cancel := within(ctx)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		d.found(fine, subject, "", "%s is free", addr)
		return
	case err != nil:
		d.found(warn, subject, "look at [proxy] admin: is it an address of this host?", "%s: %v", addr, err)
		return
	}
	_ = conn.Close()
	var st admin.Status
	switch _, err := c.ask(ctx, http.MethodGet, "/api/v1/status", nil, &st); {
	case err != nil || st.Pools == nil:
		d.found(fail, subject, "stop what listens there, or set another [proxy] admin; ss -ltnp shows it", "%s is taken, and not by a Sluice of this version", addr)
	case !st.Well:
		d.found(warn, subject, "sluice ctl status --admin "+addr, "%s: Sluice %s runs there, and is not well: %s", addr, st.Version, st.Problems[0])
	default:
		d.found(fine, subject, "", "%s: Sluice %s runs there, and is well", addr, st.Version)
	}
}
