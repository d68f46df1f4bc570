package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cli is redis-cli: most calls are a process each, with the command in its arguments.
type cli struct{ port string }

var _ library = cli{}

func openCLI(_ context.Context, addr string) (library, error) {
	_, port, err := net.SplitHostPort(addr)
	return cli{port}, err
}

func (cli) close() {}

func (c cli) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "redis-cli", append([]string{"-p", c.port, "-e"}, args...)...)
	cmd.WaitDelay = time.Second
	return cmd
}

// do returns what redis-cli prints, by lines.
func (c cli) do(ctx context.Context, args ...string) ([]string, error) {
	return c.pipe(ctx, "", args...)
}

// pipe is do with something on the standard input.
func (c cli) pipe(ctx context.Context, stdin string, args ...string) ([]string, error) {
	cmd := c.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("redis-cli %q: %w: %s%s", args, err, out, stderr.Bytes())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"), nil
}

// one is do for a reply of one line; the empty one stands for nil.
func (c cli) one(ctx context.Context, args ...string) (string, error) {
	lines, err := c.do(ctx, args...)
	if err != nil {
		return "", err
	}
	if len(lines) != 1 {
		return "", fmt.Errorf("redis-cli %q: %q", args, lines)
	}
	if lines[0] == "" {
		return "", errMissing
	}
	return lines[0], nil
}

// want is do for a reply that is known.
func (c cli) want(ctx context.Context, reply string, args ...string) error {
	got, err := c.one(ctx, args...)
	if err == nil && got != reply {
		err = fmt.Errorf("redis-cli %q: %q, want %q", args, got, reply)
	}
	return err
}

func (c cli) integer(ctx context.Context, args ...string) (int64, error) {
	got, err := c.one(ctx, args...)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(got, 10, 64)
}

func (c cli) ping(ctx context.Context) error { return c.want(ctx, "PONG", "PING") }

func (c cli) get(ctx context.Context, key string) (string, error) { return c.one(ctx, "GET", key) }

func (c cli) set(ctx context.Context, key, value string) error {
	return c.want(ctx, "OK", "SET", key, value)
}

func (c cli) mset(ctx context.Context, values map[string]string) error {
	args := []string{"MSET"}
	for key, value := range values {
		args = append(args, key, value)
	}
	return c.want(ctx, "OK", args...)
}

func (c cli) mget(ctx context.Context, keys ...string) ([]string, error) {
	return c.do(ctx, append([]string{"MGET"}, keys...)...)
}

func (c cli) del(ctx context.Context, keys ...string) error {
	return c.want(ctx, strconv.Itoa(len(keys)), append([]string{"DEL"}, keys...)...)
}

func (c cli) countUp(ctx context.Context, start int, keys []string) ([]int64, error) {
	var stdin strings.Builder
	for _, key := range keys {
		fmt.Fprintf(&stdin, "SET %s %d\nINCR %s\n", key, start, key)
	}
	lines, err := c.pipe(ctx, stdin.String())
	if err != nil {
		return nil, err
	}
	return parseIntegers(slices.DeleteFunc(lines, func(line string) bool { return line == "OK" }))
}

func parseIntegers(lines []string) ([]int64, error) {
	var list []int64
	for _, line := range lines {
		n, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

func (c cli) transaction(ctx context.Context, key string) ([]int64, error) {
	lines, err := c.pipe(ctx, "MULTI\nINCR "+key+"\nINCR "+key+"\nEXEC\n")
	if err != nil {
		return nil, err
	}
	if len(lines) < 3 || !slices.Equal(lines[:3], []string{"OK", "QUEUED", "QUEUED"}) {
		return nil, fmt.Errorf("a transaction: %q", lines)
	}
	return parseIntegers(lines[3:])
}

// cliSession is a redis-cli that reads commands from its standard input.
type cliSession struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	stop context.CancelFunc
}

func (c cli) session(ctx context.Context, args ...string) (*cliSession, error) {
	ctx, stop := context.WithCancel(ctx)
	s := &cliSession{cmd: c.command(ctx, args...), stop: stop}
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		stop()
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		stop()
		return nil, err
	}
	s.out = bufio.NewScanner(out)
	s.cmd.Stderr = s.cmd.Stdout
	if err := s.cmd.Start(); err != nil {
		stop()
		return nil, err
	}
	return s, nil
}

// close ends the process, whatever it does at that time.
func (s *cliSession) close() {
	s.stop()
	_ = s.cmd.Wait()
}

// line is the next one that redis-cli prints.
func (s *cliSession) line() (string, error) {
	if s.out.Scan() {
		return s.out.Text(), nil
	}
	return "", errors.Join(io.ErrUnexpectedEOF, s.out.Err())
}

// say types a command whose reply is one line.
func (s *cliSession) say(command string) (string, error) {
	if _, err := io.WriteString(s.in, command+"\n"); err != nil {
		return "", err
	}
	return s.line()
}

func (c cli) increment(ctx context.Context, first, second string, race func()) (int, error) {
	s, err := c.session(ctx)
	if err != nil {
		return 0, err
	}
	defer s.close()
	for attempts := 1; ; attempts++ {
		done, err := s.tryIncrement(first, second, race)
		if done || err != nil {
			return attempts, err
		}
	}
}

func (s *cliSession) tryIncrement(first, second string, race func()) (done bool, err error) {
	want := func(reply, command string) {
		if err != nil {
			return
		}
		var got string
		if got, err = s.say(command); err == nil && got != reply {
			err = fmt.Errorf("%s: %q", command, got)
		}
	}
	want("OK", "WATCH "+first)
	if err != nil {
		return false, err
	}
	value, err := s.say("GET " + first)
	if err != nil {
		return false, err
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return false, err
	}
	race()
	want("OK", "MULTI")
	want("QUEUED", fmt.Sprintf("SET %s %d", first, n+1))
	want("QUEUED", "INCR "+second)
	if err != nil {
		return false, err
	}
	executed, err := s.say("EXEC")
	if executed == "" || err != nil {
		return false, err
	}
	if executed != "OK" {
		return false, fmt.Errorf("EXEC: %q", executed)
	}
	_, err = s.line() // What INCR says.
	return true, err
}

// cliSubscription is a redis-cli that prints what it receives.
type cliSubscription struct {
	*cliSession
	kind subscribeKind
}

func (c cli) subscribe(ctx context.Context, kind subscribeKind, name string) (librarySubscription, error) {
	s, err := c.session(ctx, string(kind), name)
	if err != nil {
		return nil, err
	}
	for _, want := range []string{strings.ToLower(string(kind)), name, "1"} {
		got, err := s.line()
		if err == nil && got != want {
			err = fmt.Errorf("%s: %s", kind, got)
		}
		if err != nil {
			s.close()
			return nil, err
		}
	}
	return cliSubscription{s, kind}, nil
}

func (s cliSubscription) next(context.Context) (delivery, error) {
	fields := 3 // the kind, the channel, the message
	if s.kind == byPattern {
		fields++ // the pattern comes before the channel
	}
	var lines []string
	for range fields {
		line, err := s.line()
		if err != nil {
			return delivery{}, err
		}
		lines = append(lines, line)
	}
	return delivery{lines[fields-2], lines[fields-1]}, nil
}

// end closes the connection: redis-cli listens until then.
func (s cliSubscription) end(context.Context) error {
	s.close()
	return nil
}

func (c cli) publish(ctx context.Context, kind subscribeKind, channel, message string) error {
	command := "PUBLISH"
	if kind == byShard {
		command = "SPUBLISH"
	}
	_, err := c.integer(ctx, command, channel, message)
	return err
}

func (c cli) push(ctx context.Context, key, value string) error {
	_, err := c.integer(ctx, "RPUSH", key, value)
	return err
}

func (c cli) blpop(ctx context.Context, key string, timeout time.Duration) (string, error) {
	return c.last(ctx, 2, "BLPOP", key, fmt.Sprint(timeout.Seconds()))
}

// last is the last of n lines, unless there is nothing at all.
func (c cli) last(ctx context.Context, n int, args ...string) (string, error) {
	lines, err := c.do(ctx, args...)
	if err != nil {
		return "", err
	}
	if slices.Equal(lines, []string{""}) {
		return "", errMissing
	}
	if len(lines) != n {
		return "", fmt.Errorf("redis-cli %q: %q", args, lines)
	}
	return lines[n-1], nil
}

func (c cli) blmove(ctx context.Context, from, to string) (string, error) {
	return c.one(ctx, "BLMOVE", from, to, "LEFT", "RIGHT", fmt.Sprint(scenarioWait.Seconds()))
}

func (c cli) xadd(ctx context.Context, stream, value string) error {
	_, err := c.one(ctx, "XADD", stream, "*", "field", value)
	return err
}

func (c cli) xread(ctx context.Context, stream string, block time.Duration) (string, error) {
	return c.last(ctx, 4, "XREAD", "BLOCK", fmt.Sprint(block.Milliseconds()), "STREAMS", stream, "$")
}

// runScript gives the script as a file.
func (c cli) runScript(ctx context.Context, source, key, arg string) (int64, error) {
	file, err := os.CreateTemp("", "sluice-script-*.lua")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := io.WriteString(file, source); err != nil {
		return 0, err
	}
	return c.integer(ctx, "--eval", file.Name(), key, ",", arg)
}

func (c cli) loadScript(ctx context.Context, source string) (string, error) {
	return c.one(ctx, "SCRIPT", "LOAD", source)
}

func (c cli) haveScripts(ctx context.Context, shas ...string) ([]bool, error) {
	lines, err := c.do(ctx, append([]string{"SCRIPT", "EXISTS"}, shas...)...)
	var have []bool
	for _, line := range lines {
		have = append(have, line == "1")
	}
	return have, err
}

func (c cli) runLoaded(ctx context.Context, sha, key, arg string) (int64, error) {
	return c.integer(ctx, "EVALSHA", sha, "1", key, arg)
}

func (c cli) scan(ctx context.Context, pattern string) ([]string, error) {
	return c.do(ctx, "--scan", "--pattern", pattern)
}

// useCLITools runs what redis-cli does besides single commands.
func useCLITools(t *testing.T, to *site) {
	_, port, _ := net.SplitHostPort(to.addr)
	var mass strings.Builder
	for i := range 500 {
		fmt.Fprintf(&mass, "SET mass:%d %d\r\n", i, i)
	}
	out := run(t, mass.String(), "redis-cli", "-p", port, "--pipe")
	if !strings.Contains(out, "errors: 0, replies: 500") {
		t.Errorf("--pipe: %s", out)
	}
	run(t, strings.Repeat("x", 3000), "redis-cli", "-p", port, "-x", "SET", "longest")
	run(t, "RPUSH list a b c d\nHSET hash f1 1 f2 2 f3 3\nSADD set a b\nZADD zset 1 a\n", "redis-cli", "-p", port)
	found := strings.Fields(run(t, "", "redis-cli", "-p", port, "--scan"))
	slices.Sort(found)
	if found = slices.Compact(found); len(found) != 505 {
		t.Errorf("--scan: %d keys, want 505", len(found))
	}
	out = run(t, "", "redis-cli", "-p", port, "--bigkeys")
	for _, want := range []string{
		`Biggest +list found .*"list".* has 4 items`, `Biggest +hash found .*"hash".* has 3 fields`,
		`Biggest string found .*"longest".* has 3000 bytes`, `Biggest +set found .*"set".* has 2 members`,
		`Biggest +zset found .*"zset".* has 1 members`, `Sampled 505 keys`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("--bigkeys: no %q in:\n%s", want, out)
		}
	}
}

func runBenchmark(t *testing.T, to *site) {
	benchmark(t, to, "-t ping,set,get,incr,lpush,rpop,sadd,hset,spop,zadd,mset,lrange -q -n 1000 -P 4",
		"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "LPUSH", "RPOP", "SADD", "HSET", "SPOP", "ZADD",
		`LPUSH \(needed to benchmark LRANGE\)`, `LRANGE_100 \(first 100 elements\)`, `LRANGE_600 \(first 600 elements\)`, `MSET \(10 keys\)`)
}

func benchmark(t *testing.T, to *site, args string, names ...string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(to.addr)
	out := run(t, "", append([]string{"redis-benchmark", "-p", port}, strings.Fields(args)...)...)
	for _, name := range names {
		if !regexp.MustCompile(`(?:^|[\r\n])` + name + `: [0-9.]+ requests per second`).MatchString(out) {
			t.Errorf("no result of %s", name)
		}
	}
	if t.Failed() || strings.Contains(strings.ToUpper(out), "ERR") {
		t.Errorf("redis-benchmark:\n%s", out)
	}
}
