package mover

import (
	"context"
	"fmt"
	"strings"
)

// One key of each command is compared before the source forgets it.

// digestScript describes a key: its type, whether it has an end, its size, and a digest of it, or of its beginning.
// Members of a hash and a set have no order, so of large ones it says nothing more.
const digestScript = `local k=KEYS[1] local t=redis.call('TYPE',k).ok local out={} ` +
	`local function add(v) if type(v)=='table' then for _,x in ipairs(v) do add(x) end else out[#out+1]=tostring(v) end end ` +
	`local n=0 ` +
	`if t=='string' then n=redis.call('STRLEN',k) add(redis.call('GETRANGE',k,0,65535)) ` +
	`elseif t=='list' then n=redis.call('LLEN',k) add(redis.call('LRANGE',k,0,255)) ` +
	`elseif t=='zset' then n=redis.call('ZCARD',k) add(redis.call('ZRANGE',k,0,255,'WITHSCORES')) ` +
	`elseif t=='stream' then n=redis.call('XLEN',k) add(redis.call('XRANGE',k,'-','+','COUNT',64)) ` +
	`elseif t=='set' then n=redis.call('SCARD',k) if n<=256 then add(redis.call('SMEMBERS',k)) table.sort(out) end ` +
	`elseif t=='hash' then n=redis.call('HLEN',k) if n<=256 then local h=redis.call('HGETALL',k) ` +
	`for i=1,#h,2 do out[#out+1]=h[i]..'\0'..h[i+1] end table.sort(out) end end ` +
	`local ends=redis.call('PTTL',k)>=0 and ', with an end' or '' ` +
	`return 'a '..t..' of '..n..ends..', digest '..redis.sha1hex(table.concat(out,'\1'))`

// sample is what the source has of a key. The zero value is none.
type sample struct{ key, digest string }

// sample describes the first of some keys.
func (w *bringing) sample(ctx context.Context, keys []string) (sample, error) {
	v, err := ask(ctx, w.source, "EVAL", digestScript, "1", keys[0])
	if err != nil || strings.HasPrefix(v.Text, "a none ") { // A proxy has brought it.
		return sample{}, err
	}
	return sample{keys[0], v.Text}, nil
}

// compare looks whether the target has the same of a key that was brought. Nobody uses it there before the source has
// deleted it, so what is different while the source still has it was not made by a client.
func (w *bringing) compare(ctx context.Context, s sample) error {
	if s == (sample{}) {
		return nil
	}
	v, err := ask(ctx, w.target, "EVAL", digestScript, "1", s.key)
	if err != nil || v.Text == s.digest {
		return err
	}
	still, err := ask(ctx, w.source, "EVAL", digestScript, "1", s.key)
	if err != nil || still.Text != s.digest { // A client has had it brought and changed it, or it has ended.
		return err
	}
	return Final{fmt.Errorf("the key %.60q is at %s (%s) and at %s (%s): nothing of it is deleted, decide which is right and "+
		"delete the other", s.key, w.b.Source, s.digest, w.b.Target, v.Text)}
}
