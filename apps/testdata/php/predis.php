<?php
// Predis: values, lists, sessions and transactions, and a queue as web frameworks build one on it: a script moves a job
// from the queue to the reserved ones, and brings back those whose time is over.

require __DIR__ . '/check.php';
require 'Predis/Autoloader.php';
Predis\Autoloader::register();

$db = new Predis\Client(['host' => HOST, 'port' => PORT], ['prefix' => PREFIX]);

function values(Predis\Client $db, int $n): void
{
    $db->mset(["a:$n" => 1, "b:$n" => 2, "c:$n" => 3]);
    check('mget', $db->mget("a:$n", "b:$n", "c:$n", "none:$n"), ['1', '2', '3', null]);
    $replies = $db->pipeline(function ($pipe) use ($n) {
        for ($i = 0; $i < 20; $i++) {
            $pipe->set("p:$n:$i", $i)->incr("p:$n:$i");
        }
    });
    check('a pipeline', array_slice($replies, 1, 1) === [1] && count($replies) === 40, true);
    check('del', $db->del("a:$n", "b:$n", "c:$n"), 3);
    $db->rpush("list:$n", ['x', 'y', 'z']);
    check('a list moves', [$db->rpoplpush("list:$n", "other:$n"), $db->lrange("other:$n", 0, -1)], ['z', ['z']]);
    check('a blocking pop of two lists', $db->blpop(["none:$n", "list:$n"], 5), [PREFIX . "list:$n", 'x']);
    $found = iterator_to_array(new Predis\Collection\Iterator\Keyspace($db, PREFIX . "p:$n:*", 100), false);
    check('all keys of a kind', count(array_unique($found)), 20);
}

function transactions(Predis\Client $db, int $n): void
{
    $replies = $db->transaction(function ($tx) use ($n) {
        $tx->set("t:$n:1", 'one');
        $tx->set("t:$n:2", 'two');
        $tx->get("t:$n:1");
    });
    check('a transaction over two keys', array_map('strval', $replies), ['OK', 'OK', 'one']);
    // While a master is replaced nothing can be watched for long, so it tries as often as it has to.
    $options = ['cas' => true, 'watch' => ["t:$n:1", "t:$n:2"], 'retry' => 1000000];
    $tries = 0;
    $replies = $db->transaction($options, function ($tx) use ($n, &$tries) {
        $seen = $tx->get("t:$n:1");
        if ($tries++ === 0) { // Somebody else comes between.
            (new Predis\Client(['host' => HOST, 'port' => PORT], ['prefix' => PREFIX]))->set("t:$n:2", 'theirs');
        }
        $tx->multi();
        $tx->set("t:$n:2", "$seen again");
    });
    check('WATCH of two keys', [$tries > 1, $db->get("t:$n:2")], [true, 'one again']);
}

const POP = <<<'LUA'
    local due = redis.call('zrangebyscore', KEYS[2], '-inf', ARGV[1])
    for _, job in ipairs(due) do
        redis.call('zrem', KEYS[2], job)
        redis.call('rpush', KEYS[1], job)
    end
    local job = redis.call('lpop', KEYS[1])
    if job then
        redis.call('zadd', KEYS[2], ARGV[2], job)
        redis.call('lpop', KEYS[3])
    end
    return job
    LUA;

function queue(Predis\Client $db, int $n): void
{
    [$jobs, $reserved, $notify] = ["queues:$n", "queues:$n:reserved", "queues:$n:notify"];
    foreach (['first', 'second'] as $job) {
        $db->eval("redis.call('rpush', KEYS[1], ARGV[1]); redis.call('rpush', KEYS[2], 1)", 2, $jobs, $notify, $job);
    }
    $pop = fn (int $now) => $db->eval(POP, 3, $jobs, $reserved, $notify, $now, $now + 60);
    check('jobs', [$pop(100), $pop(110), $pop(120)], ['first', 'second', null]);
    check('one is done', $db->zrem($reserved, 'second'), 1);
    check('the other one comes again', [$pop(170), $db->llen($notify)], ['first', 0]);
}

function sessions(Predis\Client $db, int $n): void
{
    $handler = new Predis\Session\Handler($db, ['gc_maxlifetime' => 100]);
    session_set_save_handler($handler, true);
    foreach ([1, 2, 3] as $visit) {
        session_id("predis-$n");
        session_start(['use_cookies' => 0, 'use_only_cookies' => 0, 'cache_limiter' => '']);
        $_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
        check("visit $visit", $_SESSION['visits'], $visit);
        session_write_close();
    }
    check('it has its time', $db->ttl("predis-$n") > 0, true);
}

play(function (int $n) use ($db) {
    values($db, $n);
    transactions($db, $n);
    queue($db, $n);
    sessions($db, $n);
});
