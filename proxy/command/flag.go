package command

// Flags is what Redis states about how a command behaves.
type Flags uint64

// The flags of a command. Those without a name in flagNames are kept to
// themselves by Redis; COMMAND does not report them.
const (
	Write           Flags = 1 << iota
	ReadOnly              // reads keys; a replica may serve it
	DenyOOM               // refused while the server is out of memory
	Admin                 // for operators
	PubSub                // about channels
	NoScript              // not from scripts
	Blocking              // may hold the connection
	Loading               // allowed while the data set loads
	Stale                 // allowed on a replica without its master
	SkipMonitor           // hidden from MONITOR
	SkipSlowlog           // hidden from SLOWLOG
	Asking                // follows a slot being imported, as after ASKING
	Fast                  // constant or logarithmic time
	NoAuth                // allowed before AUTH
	MayReplicate          // may write although it is not Write
	Sentinel              // exists in a Sentinel process too
	NoMandatoryKeys       // may be called with no key at all
	Protected             // off unless enable-*-command allows it
	NoAsyncLoading        // refused while a replica loads in the background
	NoMulti               // not inside MULTI
	MovableKeys           // FirstKey, LastKey and Step do not tell all keys
	AllowBusy             // allowed while a script runs too long
	// TouchesArbitraryKeys marks a command that reads or writes keys it does
	// not name.
	TouchesArbitraryKeys
)

// flagNames is ordered as COMMAND reports the set.
var flagNames = [...]struct {
	flag Flags
	name string
}{
	{Write, "write"},
	{ReadOnly, "readonly"},
	{DenyOOM, "denyoom"},
	{Admin, "admin"},
	{PubSub, "pubsub"},
	{NoScript, "noscript"},
	{Blocking, "blocking"},
	{Loading, "loading"},
	{Stale, "stale"},
	{SkipMonitor, "skip_monitor"},
	{SkipSlowlog, "skip_slowlog"},
	{Asking, "asking"},
	{Fast, "fast"},
	{NoAuth, "no_auth"},
	{NoMandatoryKeys, "no_mandatory_keys"},
	{NoAsyncLoading, "no_async_loading"},
	{NoMulti, "no_multi"},
	{MovableKeys, "movablekeys"},
	{AllowBusy, "allow_busy"},
}

// DocFlags marks commands for readers of the documentation.
type DocFlags uint8

// The documentation flags.
const (
	DocDeprecated DocFlags = 1 << iota
	DocSysCmd              // used between servers, not by clients
)

var docFlagNames = [...]struct {
	flag DocFlags
	name string
}{
	{DocDeprecated, "deprecated"},
	{DocSysCmd, "syscmd"},
}
