package peer

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// LaunchServer starts one redis-server that keeps everything in memory, with more arguments than those that are
// always given.
func LaunchServer(ctx context.Context, root, name string, more ...string) (*Instance, error) {
	bin, err := onPath("redis-server")
	if err != nil {
		return nil, err
	}
	return launch(ctx, root, name, bin, func(dir, listen, _ string) ([]string, error) {
		host, port, err := net.SplitHostPort(listen)
		return append([]string{
			"--bind", host, "--port", port, "--dir", dir, "--save", "", "--appendonly", "no",
			"--daemonize", "no", "--maxclients", "15000",
		}, more...), err
	})
}

// ServerVersion is the first line of the server's version.
func ServerVersion() string {
	bin, err := onPath("redis-server")
	if err != nil {
		return ""
	}
	return firstLine(bin, "--version")
}

// Commands returns how many commands the server at addr has processed.
func Commands(addr string) (int64, error) {
	const key = "total_commands_processed:"
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return 0, err
	}
	if _, err := c.Write([]byte("INFO stats\r\n")); err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if text, found := strings.CutPrefix(lines.Text(), key); found {
			return strconv.ParseInt(text, 10, 64)
		}
	}
	return 0, fmt.Errorf("server %s does not report its commands", addr)
}
