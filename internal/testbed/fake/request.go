package fake

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
)

// errProtocol ends the connection of a client that does not speak RESP.
var errProtocol = errors.New("protocol error")

// maxArgs and maxBulkBytes bound what a broken client can make a fake allocate; they are Redis' limits.
const (
	maxArgs      = 1 << 20
	maxBulkBytes = 512 << 20
)

// readRequest reads one request: an array of bulk strings, or a line of words. An empty line gives no words.
func readRequest(r *bufio.Reader) ([]string, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	if line == "" || line[0] != '*' {
		return strings.Fields(line), nil
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n > maxArgs {
		return nil, errProtocol
	}
	args := make([]string, 0, max(n, 0))
	for range n {
		arg, err := readBulk(r)
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
	return args, nil
}

func readBulk(r *bufio.Reader) (string, error) {
	line, err := readLine(r)
	if err != nil {
		return "", err
	}
	if line == "" || line[0] != '$' {
		return "", errProtocol
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < 0 || n > maxBulkBytes {
		return "", errProtocol
	}
	buf := make([]byte, n+2)
	if _, err := io.ReadFull(r, buf); err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}
