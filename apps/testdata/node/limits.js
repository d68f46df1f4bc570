// Scripts that count and lock: rate-limiter-flexible with both kinds of clients, and Redlock.
'use strict';

const Redis = require('ioredis');
const { RateLimiterRedis, RateLimiterUnion } = require('rate-limiter-flexible');
const { default: Redlock } = require('redlock');
const { createClient } = require('redis4');
const { host, port, url, prefix, check, play } = require('./check');

const io = new Redis({ host, port });
let node;

// allowed says how many of some requests a limiter lets through.
async function allowed(limiter, key, requests) {
  const results = await Promise.allSettled(Array.from({ length: requests }, () => limiter.consume(key)));
  const refused = results.filter((r) => r.status === 'rejected').map((r) => r.reason);
  const errors = refused.filter((reason) => reason instanceof Error);
  if (errors.length > 0) throw errors[0];
  return requests - refused.length;
}

async function limits(n) {
  const settings = { points: 5, duration: 1000, blockDuration: 1000 };
  for (const [name, client] of [['ioredis', { storeClient: io }], ['node-redis', { storeClient: node, useRedisPackage: true }]]) {
    const limiter = new RateLimiterRedis({ ...settings, ...client, keyPrefix: `${prefix}limit-${name}-${n}` });
    check(`a limit with ${name}`, await allowed(limiter, 'visitor', 12), 5);
    check('another visitor', await allowed(limiter, 'other', 3), 3);
    check('what is left', (await limiter.get('other')).remainingPoints, 2);
    check('a reward', (await limiter.reward('other', 2)).remainingPoints, 4);
    check('one is blocked', (await limiter.block('other', 1000)) && await allowed(limiter, 'other', 2), 0);
    check('and forgotten', await limiter.delete('other') && await allowed(limiter, 'other', 2), 2);
  }
  const union = new RateLimiterUnion(
    new RateLimiterRedis({ ...settings, storeClient: io, keyPrefix: `${prefix}second-${n}` }),
    new RateLimiterRedis({ ...settings, points: 3, storeClient: io, keyPrefix: `${prefix}hour-${n}` }),
  );
  check('two limits at once', await allowed(union, 'visitor', 8), 3);
}

async function locks(n) {
  const redlock = new Redlock([io], { retryCount: 2000, retryDelay: 10, retryJitter: 5 });
  const impatient = new Redlock([io], { retryCount: 0 });
  const keys = [`${prefix}seat:${n}:1`, `${prefix}seat:${n}:2`];
  let lock = await redlock.acquire(keys, 100000);
  check('a lock of two keys', await io.exists(...keys), 2);
  check('one of them is not to be had', await impatient.acquire(keys.slice(1), 1000).then(() => 'had', (e) => e.name), 'ExecutionError');
  lock = await lock.extend(100000);
  await lock.release();
  check('after its release', await io.exists(...keys), 0);
  const counter = `${prefix}counter:${n}`;
  await Promise.all(Array.from({ length: 10 }, () => redlock.using(keys, 100000, async () => {
    const seen = Number(await io.get(counter));
    await io.set(counter, seen + 1);
  })));
  check('ten under one lock', await io.get(counter), '10');
}

play(async (n) => {
  node ??= await createClient({ url }).on('error', console.error).connect();
  await limits(n);
  await locks(n);
});
