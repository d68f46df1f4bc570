package apps

import "testing"

// Predis is what many sites in PHP have their queue and their sessions in Redis with.
func TestPredis(t *testing.T) {
	t.Parallel()
	play(t, app{scenario: php("testdata/php/predis.php"), can: rounds | prefixes})
}

// Sessions of PHP's Redis extension are locked by a key beside them, and released by a script.
func TestPHPRedis(t *testing.T) {
	t.Parallel()
	play(t, app{scenario: php("testdata/php/phpredis.php"), can: rounds | prefixes})
}

// Laravel has its queue, its cache with locks and its limiters in Redis, by scripts over several keys.
func TestLaravel(t *testing.T) {
	t.Parallel()
	play(t, app{scenario: php("testdata/php/laravel.php"), can: rounds | prefixes})
}
