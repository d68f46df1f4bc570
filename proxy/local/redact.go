package local

import (
	"bytes"

	"sluice/proxy/command"
)

// redacted stands for what may be a password wherever a request is shown; the word is that of Redis.
var redacted = []byte("(redacted)")

// HasSecrets reports whether arguments of a command may be passwords.
func HasSecrets(cmd *command.Command) bool {
	switch cmd.Name {
	case "auth", "hello", "config|set", "acl|setuser", "migrate":
		return true
	}
	return false
}

// Redact returns the arguments of a request as they may be shown: args itself when there is nothing to hide, else a
// copy of the slice.
func Redact(cmd *command.Command, args [][]byte) [][]byte {
	if !HasSecrets(cmd) {
		return args
	}
	shown := append([][]byte(nil), args...)
	for i := 1; i < len(shown); i++ {
		if mayBeSecret(cmd, args, i) {
			shown[i] = redacted
		}
	}
	return shown
}

// mayBeSecret reports whether the argument at i may be a password, or the name that goes with one.
func mayBeSecret(cmd *command.Command, args [][]byte, i int) bool {
	switch cmd.Name {
	case "hello", "migrate":
		return follows(args, i, 1, "auth") || follows(args, i, 2, "auth") && cmd.Name == "hello" ||
			follows(args, i, 1, "auth2") || follows(args, i, 2, "auth2")
	case "auth":
		return true
	}
	return i > 1 // Of CONFIG SET and ACL SETUSER all but the name of the subcommand.
}

// follows reports whether the argument n before i is a word.
func follows(args [][]byte, i, n int, word string) bool {
	return i-n > 0 && bytes.EqualFold(args[i-n], []byte(word))
}

// AppendQuoted adds text in quotes with everything escaped that is not printable, as Redis shows arguments.
func AppendQuoted(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, b := range text {
		switch b {
		case '\\', '"':
			dst = append(dst, '\\', b)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\a':
			dst = append(dst, '\\', 'a')
		case '\b':
			dst = append(dst, '\\', 'b')
		default:
			if b < ' ' || b > '~' {
				dst = append(dst, '\\', 'x', hex[b>>4], hex[b&15])
				continue
			}
			dst = append(dst, b)
		}
	}
	return append(dst, '"')
}
