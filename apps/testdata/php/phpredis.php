<?php
// The Redis extension of PHP: sessions with locks, several at a time, and what else is used of it.

require __DIR__ . '/check.php';

const SETTINGS = ['use_cookies' => 0, 'use_only_cookies' => 0, 'cache_limiter' => ''];

ini_set('session.save_handler', 'redis');
ini_set('session.save_path', 'tcp://' . HOST . ':' . PORT . '?timeout=20&read_timeout=20&prefix=' . urlencode(PREFIX . 'sess:'));
ini_set('redis.session.locking_enabled', '1');
ini_set('redis.session.lock_expire', '60');
ini_set('redis.session.lock_wait_time', '5000'); // microseconds
ini_set('redis.session.lock_retries', '5000');

function visit(string $id): int
{
    session_id($id);
    session_start(SETTINGS);
    $visits = $_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
    session_write_close();
    return $visits;
}

// Another process that visits the session five times, through the lock.
function visitor(string $id)
{
    return proc_open([PHP_BINARY, __FILE__, $id], [1 => ['pipe', 'w'], 2 => STDERR], $pipes);
}

if (isset($argv[1])) {
    for ($i = 0; $i < 5; $i++) {
        visit($argv[1]);
    }
    exit(0);
}

$db = new Redis();
$db->connect(HOST, PORT, 20);
$db->setOption(Redis::OPT_PREFIX, PREFIX);
$db->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);

function sessions(Redis $db, int $n): void
{
    check('visits', [visit("a-$n"), visit("a-$n"), visit("b-$n")], [1, 2, 1]);
    $visitors = [visitor("a-$n"), visitor("a-$n"), visitor("a-$n")];
    check('three processes at once', array_map('proc_close', $visitors), [0, 0, 0]);
    check('none of their visits is lost', visit("a-$n"), 18);
    session_id("a-$n");
    session_start(SETTINGS);
    check('it gets another id', session_regenerate_id(true), true);
    session_destroy();
    check('it is over', [visit("a-$n"), $db->exists("sess:a-{$n}_LOCK")], [1, 0]);
}

function commands(Redis $db, int $n): void
{
    $db->mset(["x:$n" => 'x', "y:$n" => 'y']);
    check('mget', $db->mget(["x:$n", "y:$n", "none:$n"]), ['x', 'y', false]);
    $replies = $db->multi()->set("m:$n:1", '1')->incr("m:$n:2")->expire("m:$n:1", 100)->exec();
    check('a transaction', $replies, [true, 1, true]);
    $replies = $db->multi(Redis::PIPELINE)->incr("m:$n:1")->incr("m:$n:2")->exec();
    check('a pipeline', $replies, [2, 2]);
    $db->watch(["m:$n:1", "m:$n:2"]);
    $other = new Redis();
    $other->connect(HOST, PORT, 20);
    $other->set(PREFIX . "m:$n:2", 'theirs');
    check('WATCH of two keys', $db->multi()->set("m:$n:1", 'never')->exec(), false);
    $script = "return redis.call('set', KEYS[1], redis.call('get', KEYS[2]))";
    check('a script of two keys', [$db->eval($script, ["s:$n", "x:$n", 1], 2), $db->get("s:$n")], [true, 'x']);
    $db->zAdd("z:$n", 1, 'one', 2, 'two');
    check('zUnionStore', $db->zUnionStore("u:$n", ["z:$n", "none:$n"]), 2);
    $found = 0;
    $cursor = null;
    while ($keys = $db->scan($cursor, PREFIX . "*:$n:*", 100)) {
        $found += count($keys);
    }
    check('scan', $found, 2);
    check('unlink', $db->unlink(["x:$n", "y:$n"]), 2);
}

play(function (int $n) use ($db) {
    sessions($db, $n);
    commands($db, $n);
});
