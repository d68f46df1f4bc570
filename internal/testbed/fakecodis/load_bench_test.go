package fakecodis

import (
	"bufio"
	"net"
	"strconv"
	"testing"

	"sluice/internal/testbed/fake"
)

// BenchmarkPipelinedSetGet is the load of a proxy that pipelines: 50 requests at a time, half of them writes, over a
// few connections, against 100 000 keys. The load tests need 50 000 requests a second.
func BenchmarkPipelinedSetGet(b *testing.B) {
	f := func(kind Kind) {
		b.Run(kind.String(), func(b *testing.B) {
			s := start(b, kind, Options{})
			for i := range loadKeys {
				s.Do("SET", "key:"+strconv.Itoa(i), "0123456789abcdef")
			}
			b.ResetTimer()
			b.ReportAllocs()
			b.SetParallelism(2)
			b.RunParallel(func(pb *testing.PB) { pipelinedLoad(b, s.Addr(), pb.Next) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
	f(CodisServer)
	f(Pika35)
	f(Pika40)
}

const (
	pipelineDepth = 50
	loadKeys      = 100_000
)

func pipelinedLoad(b *testing.B, addr string, next func() bool) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	rd := bufio.NewReader(conn)
	var batch []byte
	n, lines := 0, 0
	for i := 0; next(); i++ {
		key := "key:" + strconv.Itoa(i*7919%loadKeys)
		if i%2 == 0 {
			batch = append(batch, fake.Bulks("SET", key, "0123456789abcdef")...)
			lines++
		} else {
			batch = append(batch, fake.Bulks("GET", key)...)
			lines += 2
		}
		if n++; n < pipelineDepth {
			continue
		}
		if !roundTrip(b, conn, rd, batch, lines) {
			return
		}
		batch, n, lines = batch[:0], 0, 0
	}
	roundTrip(b, conn, rd, batch, lines)
}

func roundTrip(b *testing.B, conn net.Conn, rd *bufio.Reader, batch []byte, lines int) bool {
	if _, err := conn.Write(batch); err != nil {
		b.Error(err)
		return false
	}
	for range lines {
		if _, err := rd.ReadSlice('\n'); err != nil {
			b.Error(err)
			return false
		}
	}
	return true
}
