// node-redis with nothing set but the address: values, multi over many keys, WATCH, scripts, a queue, a stream, and
// pub/sub. The first argument is the name of the package, of which there are two versions.
'use strict';

const { url, prefix, check, eventually, play } = require('./check');
const { createClient, WatchError } = require(process.argv[2]);
const five = process.argv[2] === 'redis5';

const copy = 'redis.call("SET", KEYS[2], redis.call("GET", KEYS[1])) return redis.call("INCRBY", KEYS[2], ARGV[1])';
const options = { url };
const failures = [];

async function open() {
  const client = createClient(options);
  client.on('error', (error) => failures.push(String(error)));
  return client.connect();
}

async function values(db, name) {
  const keys = Array.from({ length: 20 }, (_, i) => name(`key:${i}`));
  await db.mSet(keys.map((key, i) => [key, String(i)]));
  check('mGet', await db.mGet(keys), keys.map((_, i) => String(i)));
  check('requests of one turn', await Promise.all(keys.map((key) => db.incr(key))), keys.map((_, i) => i + 1));
  const multi = db.multi();
  for (const key of keys) multi.incr(key);
  check('multi over many keys', await multi.exec(), keys.map((_, i) => i + 2));
  const found = new Set();
  for await (const some of db.scanIterator({ MATCH: `${name('key')}*`, COUNT: 100 })) {
    for (const key of five ? some : [some]) found.add(key);
  }
  check('scanIterator', found.size, 20);
  check('a script of two keys', await db.eval(copy, { keys: keys.slice(0, 2), arguments: ['5'] }), 7);
  check('unlink', await db.unlink(keys), 20);
  await db.sAdd(name('a'), ['1', '2']);
  await db.sAdd(name('b'), ['2', '3']);
  check('sInter', await db.sInter([name('a'), name('b')]), ['2']);
  check('zRangeWithScores', await db.zAdd(name('z'), { score: 1.5, value: 'x' }) && await db.zRangeWithScores(name('z'), 0, -1),
    [{ value: 'x', score: 1.5 }]);
  await db.hSet(name('h'), { one: '1', two: '2' });
  check('hGetAll', { ...await db.hGetAll(name('h')) }, { one: '1', two: '2' });
}

async function watching(db, other, name) {
  await db.watch([name('w1'), name('w2')]);
  await other.set(name('w2'), 'theirs');
  const outcome = await db.multi().set(name('w1'), 'never').exec().catch((error) => error);
  check('WATCH of two keys', outcome instanceof WatchError, true);
  check('what it did', await db.get(name('w1')), null);
}

async function queues(db, blocked, name) {
  const popped = blocked.blPop([name('q1'), name('q2')], 0);
  await db.rPush(name('q2'), 'job');
  check('blPop of two lists', { ...await popped }, { key: name('q2'), element: 'job' });
  await db.xGroupCreate(name('stream'), 'group', '0', { MKSTREAM: true });
  const read = blocked.xReadGroup('group', 'me', [{ key: name('stream'), id: '>' }], { BLOCK: 0 });
  const id = await db.xAdd(name('stream'), '*', { number: '7' });
  const [{ messages: [message] }] = await read;
  check('xReadGroup', { id: message.id, ...message.message }, { id, number: '7' });
  check('xAck', await db.xAck(name('stream'), 'group', id), 1);
}

async function subscriptions(db, subscriber, name) {
  const got = [];
  await subscriber.subscribe(name('channel'), (message) => got.push(message));
  await subscriber.pSubscribe(`${name('chan')}*`, (message, channel) => got.push(`${channel} ${message}`));
  check('publish', await db.publish(name('channel'), 'news'), 2);
  await eventually('both subscriptions', () => [...got].sort(), ['news', `${name('channel')} news`].sort());
  await subscriber.unsubscribe(name('channel'));
  await subscriber.pUnsubscribe(`${name('chan')}*`);
}

let clients;

play(async (n) => {
  clients ??= await Promise.all([open(), open(), open()]);
  const [db, second, subscriber] = clients;
  const name = (key) => `${prefix}${n}:${key}`;
  await values(db, name);
  await watching(second, db, name);
  await queues(db, second, name);
  await subscriptions(db, subscriber, name);
  check('nothing went wrong on the way', failures, []);
});
