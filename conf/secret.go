package conf

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// mask is what is printed in place of a password.
const mask = "***"

// maxPasswordFile bounds a password file; a longer one is not a password file.
const maxPasswordFile = 64 << 10

// Secret is a password. Every way of printing or encoding it gives the mask; Reveal is the only way
// out. It is a struct because encoders that do not ask a string for its methods exist, and one of
// them is the TOML library. The zero value is no password. Secrets compare with ==.
type Secret struct {
	text string
}

var (
	_ encoding.TextUnmarshaler = (*Secret)(nil)
	_ encoding.TextMarshaler   = Secret{}
	_ fmt.Formatter            = Secret{}
)

// NewSecret returns the password text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the password itself.
func (s Secret) Reveal() string { return s.text }

// Empty reports whether there is no password.
func (s Secret) Empty() bool { return s.text == "" }

// String returns the mask, or nothing when there is no password.
func (s Secret) String() string {
	if s.Empty() {
		return ""
	}
	return mask
}

// Format prints String for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText returns String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	s.text = string(text)
	return nil
}

// readSecret returns the content of a password file without the line end after it. A relative
// name is looked up beside the configuration file. What the file holds is in no error.
func readSecret(name, configFile string) (Secret, error) {
	const hint = "name a file that holds the password and nothing else"
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(configFile), name)
	}
	// Opening a pipe or a terminal could wait for ever.
	info, err := os.Stat(name)
	if err != nil {
		return Secret{}, unreadable(name, err)
	}
	if !info.Mode().IsRegular() {
		return Secret{}, &badValue{quote(name) + " is not a regular file", hint}
	}
	f, err := os.Open(name)
	if err != nil {
		return Secret{}, unreadable(name, err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxPasswordFile+1))
	if err != nil {
		return Secret{}, unreadable(name, err)
	}
	if len(data) > maxPasswordFile {
		return Secret{}, &badValue{quote(name) + " is too long for a password file", hint}
	}
	data = bytes.TrimSuffix(data, []byte("\n"))
	data = bytes.TrimSuffix(data, []byte("\r"))
	if len(data) == 0 {
		return Secret{}, &badValue{quote(name) + " is empty", "write the password into it"}
	}
	return Secret{string(data)}, nil
}

// unreadable turns an error of the file system into a message with the reason and no Go words.
func unreadable(name string, err error) *badValue {
	reason := err
	var perr *os.PathError
	if errors.As(err, &perr) {
		reason = perr.Err
	}
	hint := "check the name"
	if errors.Is(err, os.ErrPermission) {
		hint = "let the user that runs sluice read it"
	}
	return &badValue{"cannot read " + quote(name) + ": " + reason.Error(), hint}
}
