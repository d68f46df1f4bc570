// Package conf holds the configuration of Sluice: its types, its defaults, how it is read from a
// TOML file, the environment and flags, how it is checked, and which keys a reload can apply.
//
// It opens the configuration file and the files with passwords and tokens named in it, and nothing else: it dials
// no address, resolves no name and binds no socket. It imports no other package of the module.
//
// A *Config is plain data. Load, LoadWith and Parse return one that has passed Validate and that
// nobody else holds; callers treat it as immutable from there on, so it may be shared between
// goroutines. Everything here runs at start or during a reload, never on an event loop.
//
// # Where a value comes from
//
//	flag (--set proxy.loops=2)  >  environment (SLUICE_PROXY_LOOPS=2)  >  file  >  default
//
// Flags and environment reach the scalar keys of [proxy] and [proxy.limits]; pools are described
// by the file alone. Config.Origin tells which of the four won.
//
// # What to change when adding a key
//
// Add the field with its toml and reload tags (and min and max where it is a number), give it a
// value in default.go if it has one, describe it in sluice.toml, and add its cross checks to
// validate.go or pool.go. The tests compare the three places, so a step left out fails.
package conf
