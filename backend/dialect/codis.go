package dialect

import "sluice/router"

// CodisServer is codis-server 3.2. While a slot moves its source runs a command in SLOTSMGRT-EXEC-WRAPPER, or
// says that the key is gone or on its way.
var CodisServer = register(&Family{Name: "codis", Judge: judgeCodis, FindKey: findKeyCodis, OffsetsProve: true})

// judgeCodis knows no redirects: codis-server is a Redis 3.2 that is not a cluster.
func judgeCodis(reply []byte, _ string) Verdict { return judge(reply, proven) }

// findKeyCodis lets the source run what it can. A source does nothing else while it moves a key with SLOTSMGRTTAGONE.
func findKeyCodis(r KeyRequest) Way {
	if r.Single && r.Method == router.SemiAsync && !r.Refused {
		return RunAtSource
	}
	return MoveFenced
}
