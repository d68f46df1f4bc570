"""redis-py with nothing set: pipelines are transactions there, over whatever keys they have."""
import threading

import redis

from check import PREFIX, URL, check, play

db = redis.Redis.from_url(URL)


def keys(name, n, count=20):
    return [f'{PREFIX}{name}:{n}:{i}' for i in range(count)]


def pipelines(n):
    names = keys('pipeline', n)
    with db.pipeline() as pipe:
        for i, key in enumerate(names):
            pipe.set(key, i).incr(key).expire(key, 100)
        check('pipeline over many keys', pipe.execute(), [x for i in range(20) for x in (True, i + 1, True)])
    with db.pipeline(transaction=False) as pipe:
        for key in names:
            pipe.get(key)
        check('pipeline without a transaction', [int(v) for v in pipe.execute()], list(range(1, 21)))
    with db.pipeline() as pipe:
        pipe.set(names[0], 'text').incr(names[0]).set(names[1], 'after')
        replies = pipe.execute(raise_on_error=False)
    check('an error in the middle of a pipeline', [type(r).__name__ for r in replies], ['bool', 'ResponseError', 'bool'])
    check('what comes after it', db.get(names[1]), b'after')
    check('MGET', db.mget(names[1:3]), [b'after', b'3'])
    check('UNLINK', db.unlink(*names), 20)


def transactions(n):
    source, target = keys('account', n, 2)
    db.mset({source: 100, target: 0})

    def pay(pipe):
        left, have = int(pipe.get(source)), int(pipe.get(target))
        pipe.multi()
        pipe.set(source, left - 1)
        pipe.set(target, have + 1)

    def pay_often():
        for _ in range(5):
            db.transaction(pay, source, target)

    threads = [threading.Thread(target=pay_often) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check('transaction() of four threads over two keys', db.mget(source, target), [b'80', b'20'])
    with db.pipeline() as pipe:
        pipe.watch(source, target)
        db.set(target, 'another')
        pipe.multi()
        pipe.set(source, 'never')
        try:
            pipe.execute()
            outcome = 'executed'
        except redis.WatchError:
            outcome = 'WatchError'
    check('WATCH of two keys', (outcome, db.get(source)), ('WatchError', b'80'))


def locks(n):
    name, counter = keys('lock', n, 2)
    with db.lock(name, timeout=100) as lock:
        check('a lock is owned', lock.owned(), True)
        check('nobody else gets it', db.lock(name, timeout=100).acquire(blocking=False), False)
        check('it is extended', lock.extend(10), True)
    check('it is released', db.exists(name), 0)

    def count():
        for _ in range(5):
            with db.lock(name, timeout=100, sleep=0.001):
                db.set(counter, int(db.get(counter) or 0) + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check('four threads under one lock', db.get(counter), b'20')


def other_commands(n):
    one, two, three = keys('set', n, 3)
    db.sadd(one, 'a', 'b')
    db.sadd(two, 'b', 'c')
    check('SINTERSTORE', (db.sinterstore(three, one, two), db.smembers(three)), (1, {b'b'}))
    db.rename(three, one)
    check('RENAME', db.smembers(one), {b'b'})
    jobs, busy = keys('list', n, 2)
    db.lpush(jobs, 'job')
    check('BRPOPLPUSH', db.brpoplpush(jobs, busy, timeout=5), b'job')
    check('BLPOP of two lists', db.blpop([jobs, busy], timeout=5), (busy.encode(), b'job'))
    script = db.register_script("redis.call('SET', KEYS[1], ARGV[1]); return redis.call('COPY', KEYS[1], KEYS[2])")
    check('a script of two keys', (script(keys=[jobs, busy], args=['v']), db.get(busy)), (1, b'v'))
    found = set(db.scan_iter(match=f'{PREFIX}list:{n}:*', count=1000))
    check('SCAN', found, {jobs.encode(), busy.encode()})


def round_of(n):
    pipelines(n)
    transactions(n)
    locks(n)
    other_commands(n)


play(round_of)
