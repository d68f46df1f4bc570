package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/resp"
)

// Values of many MiB go both ways in pipelines, whole and in order, while gnet and the kernel take only parts
// of them at once.
func TestBigValuesBothWays(t *testing.T) {
	t.Parallel()
	top := codisTopology(t)
	c := top.dial(t)
	k := top.keysOnEveryNode("big", 2)
	sizes := []int{2 << 20, 1, 3<<20 + 1, 5 << 20, 0, 1<<20 - 1}
	done := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(c.Conn, 1<<16)
		for i, size := range sizes {
			value := strings.Repeat(string(rune('a'+i)), size)
			w.Write(resp.AppendCommand(nil, "SET", k[i%4], value))
			w.Write(resp.AppendCommand(nil, "MSET", k[(i+1)%4], value, k[(i+2)%4], "small"))
			w.Write(resp.AppendCommand(nil, "GET", k[i%4]))
			w.Write(resp.AppendCommand(nil, "MGET", k[0], k[1], k[2], k[3]))
			w.Write(resp.AppendCommand(nil, "STRLEN", k[(i+1)%4]))
		}
		done <- w.Flush()
	}()
	stored := make(map[string]string)
	for i, size := range sizes {
		value := strings.Repeat(string(rune('a'+i)), size)
		stored[k[i%4]], stored[k[(i+1)%4]], stored[k[(i+2)%4]] = value, value, "small"
		merged := "*4\r\n"
		for _, key := range k {
			if v, ok := stored[key]; ok {
				merged += string(resp.AppendBulk(nil, v))
			} else {
				merged += "$-1\r\n"
			}
		}
		for j, want := range []string{"+OK\r\n", "+OK\r\n", string(resp.AppendBulk(nil, value)), merged, fmt.Sprintf(":%d\r\n", size)} {
			if got := c.reply(); got != want {
				t.Fatalf("size %d, reply %d: %d bytes, want %d", size, j, len(got), len(want))
			}
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The largest values that anybody stores come through; what they took comes back.
func TestHugeValue(t *testing.T) {
	p := startProxyTo(t, testbed.Redis(t))
	before := heapInUse()
	c := p.dial(t)
	const size = 64 << 20
	c.send(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", size))
	piece := []byte(strings.Repeat("0123456789abcde\n", 1<<12)) // 64 KiB
	for range size / len(piece) {
		if _, err := c.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	c.send("\r\n")
	if got := c.reply(); got != "+OK\r\n" {
		t.Fatal(got)
	}
	c.request("GET", "k")
	if got, err := c.r.ReadString('\n'); got != fmt.Sprintf("$%d\r\n", size) {
		t.Fatalf("%q, %v", got, err)
	}
	buf := make([]byte, len(piece))
	for i := range size / len(piece) {
		if _, err := io.ReadFull(c.r, buf); err != nil || !bytes.Equal(buf, piece) {
			t.Fatalf("piece %d is wrong: %v", i, err)
		}
	}
	if got, err := c.r.ReadString('\n'); got != "\r\n" {
		t.Fatalf("%q, %v", got, err)
	}
	testbed.Eventually(t, func() error {
		if grown := heapInUse() - before; grown > 3<<20 {
			return fmt.Errorf("%d KiB are not given back", grown>>10)
		}
		return nil
	}, replyWait)
}
