package load

import "testing"

func TestParseMix(t *testing.T) {
	f := func(in string, want Mix) {
		t.Helper()
		got, err := ParseMix(in)
		if err != nil || got != want {
			t.Errorf("ParseMix(%q) = %+v, %v; want %+v", in, got, err, want)
		}
		if again, err := ParseMix(got.String()); err != nil || again != want {
			t.Errorf("ParseMix(%q) = %+v, %v; want %+v", got.String(), again, err, want)
		}
	}
	f("get", Mix{Get: 1})
	f("GET=8, set=2", Mix{Get: 8, Set: 2})
	f("get=1,mget=3,ping=0,set", Mix{Get: 1, MGet: 3, Set: 1})
	for _, in := range []string{"", "get=0", "get=-1", "get=x", "incr=1", "get,,set"} {
		if m, err := ParseMix(in); err == nil {
			t.Errorf("ParseMix(%q) = %+v without an error", in, m)
		}
	}
}

func TestMixKeepsProportions(t *testing.T) {
	count := make(map[op]int)
	seq := Mix{Get: 5, Set: 3, MGet: 1, Ping: 1}.sequence(1000, newRand(1, 2))
	for _, o := range seq {
		count[o]++
	}
	if len(seq) != 1000 || count[opGet] != 500 || count[opSet] != 300 || count[opMGet] != 100 || count[opPing] != 100 {
		t.Errorf("%d commands, %v", len(seq), count)
	}
}
