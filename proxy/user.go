package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"

	"sluice/proxy/acl"
)

// User is a client's identity. A pool without users asks for no password. Immutable.
type User struct {
	Name      string         // "default" is the user of AUTH with a password alone
	Passwords []PasswordHash // any of them will do
	Reads     *ReadRules     // nil: those of the pool
	Rights    *acl.Rules     // nil: everything
	Rules     string         // the same as ACL LIST shows it
}

// PasswordHash is a password as far as it is kept in memory: its SHA-256. Every way of printing it gives nothing away.
type PasswordHash struct {
	sum [sha256.Size]byte
}

// HashPassword returns the hash of a password.
func HashPassword(password string) PasswordHash {
	return PasswordHash{sha256.Sum256([]byte(password))}
}

// ParsePasswordHash reads the hexadecimal form of a hash.
func ParsePasswordHash(text string) (PasswordHash, error) {
	var h PasswordHash
	if n, err := hex.Decode(h.sum[:], []byte(text[:min(len(text), 2*sha256.Size)])); err != nil || n != sha256.Size || len(text) != 2*n {
		return PasswordHash{}, fmt.Errorf("a password hash is not %d hexadecimal digits", 2*sha256.Size)
	}
	return h, nil
}

// Format prints a mask for every verb and flag.
func (PasswordHash) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "***") }

// authenticate finds the user with a name and a password, nil when there is none. The time it takes does not depend on how
// much of a password is right, nor on whether there is such a user.
func authenticate(users []User, name string, password []byte) *User {
	given := sha256.Sum256(password)
	var found *User
	for i := range users {
		u := &users[i]
		for j := range u.Passwords {
			if subtle.ConstantTimeCompare(given[:], u.Passwords[j].sum[:]) == 1 && u.Name == name {
				found = u
			}
		}
	}
	return found
}

// userNamed finds a user, nil when there is none of this name.
func userNamed(users []User, name string) *User {
	for i := range users {
		if users[i].Name == name {
			return &users[i]
		}
	}
	return nil
}
