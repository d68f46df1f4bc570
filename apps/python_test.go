package apps

import "testing"

func TestRedisPy(t *testing.T) {
	t.Parallel()
	play(t, app{scenario: python("testdata/python/redispy.py"), can: rounds | prefixes})
}
