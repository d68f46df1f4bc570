<?php
// Laravel's queue, cache, locks and rate limiters, as its components have them in Redis: by scripts over several keys.

require __DIR__ . '/check.php';
foreach (['Support', 'Container', 'Redis', 'Queue', 'Cache'] as $part) {
    require_once "Illuminate/$part/autoload.php";
}

use Illuminate\Cache\RateLimiter;
use Illuminate\Cache\RedisStore;
use Illuminate\Cache\Repository;
use Illuminate\Container\Container;
use Illuminate\Queue\RedisQueue;
use Illuminate\Redis\RedisManager;

$app = new Container();
$redis = new RedisManager($app, 'phpredis', [
    'options' => ['prefix' => PREFIX],
    'default' => ['host' => HOST, 'port' => PORT, 'database' => 0, 'timeout' => 20, 'read_timeout' => 20],
]);

function queue(RedisManager $redis, Container $app, int $n): void
{
    $queue = new RedisQueue($redis, "q$n", 'default', 60, null);
    $queue->setContainer($app);
    for ($i = 0; $i < 3; $i++) {
        $queue->pushRaw(json_encode(['id' => "$n-$i", 'job' => 'x', 'attempts' => 0]));
    }
    check('jobs that wait', $queue->size(), 3);
    $first = $queue->pop();
    check('the first job', [$first->getJobId(), $first->attempts(), $queue->size()], ["$n-0", 1, 3]);
    $first->delete();
    check('it is done', $queue->size(), 2);
    $second = $queue->pop();
    $second->release(0);
    check('released', [$queue->pop()->getJobId(), $queue->size()], ["$n-2", 2]);
    $again = $queue->pop();
    check('the second once more', [$again->getJobId(), $again->attempts()], ["$n-1", 2]);
    $again->delete();
    check('one is reserved', $queue->size(), 1);
    check('cleared', [$queue->clear("q$n"), $queue->size()], [1, 0]);
}

function cache(RedisManager $redis, int $n): void
{
    $store = new RedisStore($redis, "c$n:", 'default');
    $cache = new Repository($store);
    check('put', $cache->put('a', ['x' => 1], 60), true);
    check('get', [$cache->get('a'), $cache->get('nothing', 'else')], [['x' => 1], 'else']);
    check('many', [$cache->putMany(['b' => 2, 'c' => 3], 60), $cache->many(['b', 'c', 'd'])], [true, ['b' => '2', 'c' => '3', 'd' => null]]);
    check('add', [$cache->add('b', 9, 60), $cache->add('e', 9, 60)], [false, true]);
    check('counted', [$cache->increment('e'), $cache->decrement('e', 4)], [10, 6]);
    check('forgotten', [$cache->forget('a'), $cache->has('a')], [true, false]);

    $lock = $store->lock('job', 30, 'me');
    check('locked', [$lock->get(), $store->lock('job', 30, 'you')->get()], [true, false]);
    check('not by who has it not', $store->lock('job', 30, 'you')->release(), false);
    check('unlocked', [$lock->release(), $store->lock('job', 30, 'you')->get()], [true, true]);

    $limiter = new RateLimiter($cache);
    $hits = [];
    for ($i = 0; $i < 4; $i++) {
        $hits[] = $limiter->tooManyAttempts('login', 3);
        $limiter->hit('login', 60);
    }
    check('the fourth is one too many', $hits, [false, false, false, true]);

    $ran = [];
    for ($i = 0; $i < 3; $i++) {
        $redis->connection()->throttle("t$n")->block(0)->allow(2)->every(60)->then(
            function () use (&$ran) { $ran[] = true; },
            function () use (&$ran) { $ran[] = false; },
        );
    }
    check('throttled', $ran, [true, true, false]);
    $redis->connection()->funnel("f$n")->limit(1)->block(0)->then(
        fn () => check('one at a time', true, true),
        fn () => check('one at a time', false, true),
    );
}

play(function (int $n) use ($redis, $app): void {
    queue($redis, $app, $n);
    cache($redis, $n);
});
