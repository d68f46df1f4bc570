package dialect

import (
	"strconv"

	"sluice/proxy/resp"
	"sluice/router"
)

// A Redis without cluster mode knows nothing of slots. A key of a moving slot is brought by whoever needs it first, a
// proxy or the controller:
//
//	source  DUMP key, PTTL key     nobody writes there any more, so both stay true until the key goes
//	target  bring                  RESTORE without REPLACE, unless somebody has brought it before
//	source  drop                   UNLINK; only then is the key used at the target
//
// A request of a proxy that hangs may arrive late, when the key was brought by another and deleted by a client. So both
// servers have a hash as long as the move lasts, BringMarker of its fencing token: bring and drop do nothing where it is
// missing, and at the target it has a field for each key that was brought, or that the source did not have.

// BringMarkers is what the keys of such hashes begin with. They are no keys of clients.
const BringMarkers = "sluice:moving:"

// BringMarker is the key of that hash, in database 0.
func BringMarker(token uint64) string { return BringMarkers + strconv.FormatUint(token, 10) }

// NoMove begins the error reply of both scripts when the marker is missing.
const NoMove = "NOMOVE"

// scripts begin with it. The marker is in database 0, the keys are in that of the connection.
const bringStart = `redis.call('SELECT',0) if redis.call('EXISTS',KEYS[1])==0 then ` +
	`return redis.error_reply('NOMOVE '..KEYS[1]..' is missing: this server knows of no such move') end `

// BringScript brings keys: KEYS are the marker and the keys, ARGV the database, and for each key the milliseconds that
// it has to live, 0 for ever, or with @ in front when it ends by the target's clock, and its DUMP, empty when the source
// does not have it. It answers how many keys were new.
// A key that the target has already was brought by a move with another token, and not used since.
const BringScript = bringStart + `local n,db=0,ARGV[1] for i=2,#KEYS do local f,p=db..':'..KEYS[i],ARGV[2*i-1] ` +
	`if redis.call('HEXISTS',KEYS[1],f)==0 then if p~='' then redis.call('SELECT',db) ` +
	`local e,r=ARGV[2*i-2] if string.sub(e,1,1)=='@' then r=redis.pcall('RESTORE',KEYS[i],string.sub(e,2),p,'ABSTTL') ` +
	`else r=redis.pcall('RESTORE',KEYS[i],e,p) end redis.call('SELECT',0) ` +
	`if type(r)~='table' or not r.err then n=n+1 elseif string.sub(r.err,1,8)~='BUSYKEY ' then return r end end ` +
	`redis.call('HSET',KEYS[1],f,'') end end return n`

// DropScript deletes keys at the source that were brought: KEYS are the marker and the keys, ARGV the database. It
// answers how many there were.
const DropScript = bringStart + `redis.call('SELECT',ARGV[1]) local n=0 for i=2,#KEYS do ` +
	`n=n+redis.call('UNLINK',KEYS[i]) end return n`

// AppendDump appends DUMP key.
func AppendDump(dst, key []byte) []byte {
	return resp.AppendBulk(resp.AppendBulk(resp.AppendArray(dst, 2), "DUMP"), key)
}

// AppendLife appends PTTL key; Life reads the answer.
func AppendLife(dst, key []byte) []byte {
	return resp.AppendBulk(resp.AppendBulk(resp.AppendArray(dst, 2), "PTTL"), key)
}

// AppendBring appends the bringing of one key. life is in milliseconds, 0 for ever; an empty dump says that the source
// does not have it.
func AppendBring(dst []byte, token uint64, db int, key []byte, life int64, dump []byte) []byte {
	dst = appendScript(dst, BringScript, 2, token, db, key)
	dst = resp.AppendBulk(dst, strconv.FormatInt(life, 10))
	return resp.AppendBulk(dst, dump)
}

// AppendDrop appends the deletion of one key at the source.
func AppendDrop(dst []byte, token uint64, db int, key []byte) []byte {
	return appendScript(dst, DropScript, 0, token, db, key)
}

func appendScript(dst []byte, script string, more int, token uint64, db int, key []byte) []byte {
	dst = resp.AppendArray(dst, 6+more)
	dst = resp.AppendBulk(dst, "EVAL")
	dst = resp.AppendBulk(dst, script)
	dst = resp.AppendBulk(dst, "2")
	dst = resp.AppendBulk(dst, BringMarker(token))
	dst = resp.AppendBulk(dst, key)
	return resp.AppendBulk(dst, strconv.Itoa(db))
}

// Life is what RESTORE is given for the reply of PTTL: 0 for a key that lives for ever. ok is false when there is no
// such key.
func Life(pttl int64) (ms int64, ok bool) {
	switch {
	case pttl == -1:
		return 0, true
	case pttl < 0:
		return 0, false
	}
	return max(pttl, 1), true
}

// findKeyRedis brings each key.
func findKeyRedis(KeyRequest) Way { return BringKeys }

// FindsKeys reports whether keys of a moving slot are found one by one. If not, the slot is held until the move is over,
// or the servers answer redirects.
func (f *Family) FindsKeys(m *router.Move) bool {
	return f.FindKey != nil && (m.Token != 0 || !f.NeedsToken)
}
