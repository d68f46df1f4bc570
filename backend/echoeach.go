//go:build echoeach

package backend

// echoEach says that every request is followed by an ECHO, see echo.go.
const echoEach = true
