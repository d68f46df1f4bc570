package command

import (
	"bytes"
	"strings"
)

// The refusals of a command that is not run at all, worded as Redis 7 words
// them. Each function returns the text of one error reply, without the leading
// "-" and the line end; it contains no line break whatever the client sent.
//
// Redis formats these texts from C strings. That shows in three ways, kept
// here because clients match on the text: an argument ends at its first NUL, a
// name is cut to 128 bytes, and the list of arguments is cut to about as many.

// maxQuoted is the number of bytes Redis takes of a name.
const maxQuoted = 128

// ErrUnknownCommand returns the refusal of a command that does not exist. args
// is what follows the name.
func ErrUnknownCommand(name []byte, args [][]byte) string {
	var b strings.Builder
	b.WriteString("ERR unknown command '")
	b.Write(quoted(name, maxQuoted))
	b.WriteString("', with args beginning with: ")
	// The quotes and the blank count too, so the limit is checked before an
	// argument and applied to it: the text ends at most 3 bytes past it.
	listed := 0
	for _, arg := range args {
		if listed >= maxQuoted {
			break
		}
		text := quoted(arg, maxQuoted-listed)
		b.WriteByte('\'')
		b.Write(text)
		b.WriteString("' ")
		listed += len(text) + len("'' ")
	}
	return oneLine(b.String())
}

// ErrUnknownSubcommand returns the refusal of a subcommand that the container
// does not have.
func ErrUnknownSubcommand(container *Command, sub []byte) string {
	return oneLine("ERR unknown subcommand '" + string(quoted(sub, maxQuoted)) +
		"'. Try " + strings.ToUpper(container.Name) + " HELP.")
}

// ErrArity returns the refusal of a wrong number of arguments. Whatever is
// wrong with EXEC ends the transaction, so its refusal says that, and says it
// outside a transaction too.
func ErrArity(c *Command) string {
	text := "wrong number of arguments for '" + c.Name + "' command"
	if c.Name == "exec" {
		return "EXECABORT Transaction discarded because of: " + text
	}
	return "ERR " + text
}

// quoted returns the part of b that Redis would print: up to the first NUL and
// at most limit bytes. It aliases b.
func quoted(b []byte, limit int) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return b[:min(len(b), limit)]
}

// oneLine replaces line breaks, which would end the reply early and let a
// client write replies of its own into its connection.
func oneLine(s string) string {
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(s)
}
