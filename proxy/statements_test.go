package proxy

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Statements are requests in the notation of the tests that compare with a server. They are divided by ";" or
// the end of a line, their words by blanks, and a word in double quotes is a Go string. A line that begins with
// "#" is a comment. What may stand before the words:
//
//	?  the members of the reply come in any order: a server orders a hash table by a seed of its own
//	!  not sent in a cluster, where servers refuse it
//	~  only the kind of the reply is compared
//	~(name)  compared as allowances[name] says
//
// What a test says to more than one connection has more before that; see conformance_test.go.
type statement struct {
	conn       byte // a lower-case letter; 0 is the same as 'a'
	act        act
	args       []string
	anyOrder   bool
	notCluster bool
	byKind     bool
	allowance  string // "" for none
	known      string // the reply, where the server at hand is too old to ask
	at         string // line of the file, for messages
	seed       int    // of the case of its letters, see mixed
}

// act is what a statement does with its connection.
type act uint8

const (
	actDo      act = iota // sends a request and reads its reply
	actSend               // sends a request
	actRead               // reads one more reply
	actHangUp             // closes the connection
	actIterate            // sends a SCAN, and again with the cursor that it returns, to the end
	actBlocked            // waits until a number of clients is blocked
)

// prefixes are the ways to name a connection, by what follows its letter.
var (
	namesConn = regexp.MustCompile(`^([a-z])([:>]) +`)
	readsConn = regexp.MustCompile(`^([a-z])([<.]) *`)
	allowed   = regexp.MustCompile(`^~\(([a-z-]+)\) *`)
)

// statements reads a list of statements.
func statements(t *testing.T, corpus string) []statement {
	t.Helper()
	var list []statement
	number := 0
	for line := range strings.Lines(corpus) {
		number++
		for line = strings.TrimSpace(line); line != "" && line[0] != '#'; {
			s := statement{at: strconv.Itoa(number), seed: len(list)}
			line = s.prefix(line)
			s.args, line = words(t, line)
			s.directive()
			if n := len(s.args); n > 2 && s.args[n-2] == "=>" {
				s.known, s.args = s.args[n-1], s.args[:n-2]
			}
			if len(s.args) == 0 && s.act != actRead && s.act != actHangUp {
				t.Fatalf("line %d: no words before %q", number, line)
			}
			list = append(list, s)
		}
	}
	return list
}

// prefix takes what stands before the words and returns the rest.
func (s *statement) prefix(line string) string {
	s.conn = 'a'
	if m := namesConn.FindStringSubmatch(line); m != nil {
		s.conn, line = m[1][0], line[len(m[0]):]
		if m[2] == ">" {
			s.act = actSend
		}
	} else if m := readsConn.FindStringSubmatch(line); m != nil {
		s.conn, line = m[1][0], line[len(m[0]):]
		s.act = actRead
		if m[2] == "." {
			s.act = actHangUp
		}
	}
	if m := allowed.FindStringSubmatch(line); m != nil {
		s.allowance, line = m[1], line[len(m[0]):]
	}
	marks := len(line) - len(strings.TrimLeft(line, "~?!"))
	s.byKind = strings.Contains(line[:marks], "~")
	s.anyOrder = strings.Contains(line[:marks], "?")
	s.notCluster = strings.Contains(line[:marks], "!")
	return line[marks:]
}

// directive takes a first word that is none of Redis'.
func (s *statement) directive() {
	if len(s.args) == 0 {
		return
	}
	switch s.args[0] {
	case "@iterate":
		s.act, s.args = actIterate, s.args[1:]
	case "@blocked":
		s.act, s.args = actBlocked, s.args[1:]
	}
}

// answered reports whether a statement has a reply to compare.
func (s *statement) answered() bool {
	return s.act == actDo || s.act == actRead || s.act == actIterate
}

// words reads one statement and returns what follows it.
func words(t *testing.T, line string) (args []string, rest string) {
	t.Helper()
	for {
		line = strings.TrimLeft(line, " ")
		switch {
		case line == "":
			return args, ""
		case line[0] == ';':
			return args, strings.TrimLeft(line[1:], " ")
		case line[0] == '"':
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			word, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatalf("%s: %v", quoted, err)
			}
			args, line = append(args, word), line[len(quoted):]
		default:
			n := strings.IndexAny(line, " ;")
			if n < 0 {
				n = len(line)
			}
			args, line = append(args, line[:n]), line[n:]
		}
	}
}
