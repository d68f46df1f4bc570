package mover

import (
	"io"
	"net"
	"testing"
	"time"

	"sluice/proxy/resp"
)

// raw sends commands to a server on one connection, and wants these bytes as the answer.
func raw(t *testing.T, addr, want string, commands ...[]string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	var request []byte
	for _, args := range commands {
		request = resp.AppendCommand(request, args...)
	}
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("%q answers %q, %v, want %q", request, got, err, want)
	}
}
