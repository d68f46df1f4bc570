// Command sluicebench measures Sluice and its peers.
//
//	sluicebench load      sends requests to one local address
//	sluicebench check     sends requests to one local address and judges every
//	                      reply, while somebody moves what lies behind it
//	sluicebench compare   starts servers and proxies, measures them in turn and
//	                      writes a report
//
// It never talks to another host.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		stop()
		os.Exit(2)
	case errors.Is(err, context.Canceled):
		stop()
		fmt.Fprintln(os.Stderr, "sluicebench: interrupted, nothing written")
		os.Exit(1)
	default:
		stop()
		fmt.Fprintln(os.Stderr, "sluicebench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "load":
			return runLoad(ctx, args[1:], os.Stdout)
		case "check":
			return runCheck(ctx, args[1:], os.Stdin, os.Stdout)
		case "compare":
			return runCompare(ctx, args[1:], os.Stdout)
		}
	}
	fmt.Fprintln(os.Stderr, "usage: sluicebench load|check|compare [flags]; -h after the command lists its flags")
	return flag.ErrHelp
}
