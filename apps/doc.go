// Package apps has no code, only tests: real applications work against a real server, and then through Sluice, with
// nothing changed but the address.
//
// An application is a scenario in its own language, below testdata, and the workers that it needs. The scenario prints a
// line for each of its checks and ends with an error at the first that fails. It knows nothing of what is behind the
// address it is given:
//
//	REDIS_URL   redis://host:port, also as REDIS_HOST and REDIS_PORT
//	KEY_PREFIX  what every key of the application begins with; empty, or a hash tag
//	UNTIL       a file: the scenario plays rounds, each with keys of its own, until there is such a file, one at least
//
// The first site of every application is the server alone: what fails there is no fault of Sluice. `make test` installs
// the applications, and a test whose application is missing fails.
package apps
