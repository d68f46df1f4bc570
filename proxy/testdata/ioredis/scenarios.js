// Runs the scenarios of clients_scenarios_test.go with ioredis, with nothing set but the address:
//
//   node scenarios.js single|cluster host:port server...
//
// The servers are those that have the keys. For every scenario a line is printed: "ok name" or "FAIL name: why".
'use strict';

const assert = require('node:assert/strict');
const { setTimeout: sleep } = require('node:timers/promises');
const Redis = require('ioredis');

const [mode, target, ...servers] = process.argv.slice(2);
const waitMs = 20000; // Nothing that works takes that long.
const opened = []; // by the scenario that runs

function parse(address) {
  const [host, port] = address.split(':');
  return { host, port: Number(port) };
}

function open(options = {}) {
  const client = mode === 'cluster' ? new Redis.Cluster([parse(target)], options) : new Redis({ ...parse(target), ...options });
  opened.push(client);
  return client;
}

// nodes are what has to be asked one by one, because a request without a key goes to any.
function nodes(client) {
  return mode === 'cluster' ? client.nodes('master') : [client];
}

// groups of keys: a client of a cluster sends the keys of one slot together, any other sends all.
function groups(name) {
  if (mode === 'cluster') {
    return numbers(10).map((i) => range(4).map((j) => `{${name}:${i}}:${j}`));
  }
  return [numbers(40).map((i) => `${name}:${i}`)];
}

function range(n) {
  return Array.from({ length: n }, (_, i) => i);
}

// numbers make names that differ enough for every server to have some; see nameStep in clients_scenarios_test.go.
function numbers(n) {
  return range(n).map((i) => i * 7919);
}

// results returns the values of a pipeline or transaction, whose errors come in pairs with them.
function results(pairs) {
  for (const [error] of pairs) {
    if (error) throw error;
  }
  return pairs.map(([, value]) => value);
}

const monitors = servers.map((address) => new Redis({ ...parse(address), lazyConnect: true }));

// whileBlocked waits until a server has a client in a blocking command, and then calls release.
async function whileBlocked(command, release) {
  let settled = false;
  const finish = () => { settled = true; };
  command.then(finish, finish);
  while (!settled) {
    const infos = await Promise.all(monitors.map((m) => m.info('clients')));
    const blocked = infos.map((info) => Number(/blocked_clients:(\d+)/.exec(info)[1]));
    if (blocked.reduce((a, b) => a + b, 0) === 1) {
      await release();
      return command;
    }
    await sleep(5);
  }
  return assert.fail(`not blocked, but ${JSON.stringify(await command)}`);
}

// inbox keeps what a subscriber receives.
function inbox(client, event) {
  const waiting = [];
  const received = [];
  client.on(event, (...args) => {
    if (waiting.length > 0) waiting.shift()(args);
    else received.push(args);
  });
  return () => (received.length > 0 ? Promise.resolve(received.shift()) : new Promise((resolve) => { waiting.push(resolve); }));
}

const scenarios = {
  async connect() {
    const c = open();
    assert.equal(await c.ping(), 'PONG');
    assert.equal(await c.set('connect', 'a value'), 'OK');
    assert.equal(await c.get('connect'), 'a value');
    assert.equal(await c.get('connect:none'), null);
  },

  async 'many keys'() {
    const c = open();
    for (const keys of groups('many')) {
      const values = keys.map((key) => `value of ${key}`);
      assert.equal(await c.mset(Object.fromEntries(keys.map((key, i) => [key, values[i]]))), 'OK');
      assert.deepEqual(await c.mget(keys), values);
      assert.equal(await c.del(keys), keys.length);
      assert.deepEqual(await c.mget(keys), keys.map(() => null));
    }
  },

  async pipeline() {
    const c = open();
    for (const keys of groups('pipeline')) {
      const p = c.pipeline();
      for (const key of keys) p.set(key, 7).incr(key);
      assert.deepEqual(results(await p.exec()), keys.flatMap(() => ['OK', 8]));
    }
  },

  async transaction() {
    const c = open();
    for (const i of numbers(10)) {
      const key = `transaction:${i}`;
      assert.deepEqual(results(await c.multi().incr(key).incr(key).exec()), [1, 2]);
    }
  },

  async watch() {
    const c = open();
    const other = open();
    for (const i of numbers(10)) {
      const first = `{watch:${i}}:first`;
      const second = `{watch:${i}}:second`;
      await other.set(first, 1);
      const increment = async (race) => {
        await c.watch(first);
        const value = Number(await c.get(first));
        await race();
        return c.multi().set(first, value + 1).incr(second).exec();
      };
      assert.equal(await increment(() => other.set(first, 10)), null);
      assert.deepEqual(results(await increment(() => {})), ['OK', 1]);
      assert.equal(await c.get(first), '11');
      assert.equal(await c.get(second), '1');
    }
  },

  async 'publish and subscribe'() {
    const named = open();
    const pattern = open();
    const other = open();
    const nextNamed = inbox(named, 'message');
    const nextPattern = inbox(pattern, 'pmessage');
    await pattern.psubscribe('news:*');
    const publish = async (channel, message, toNamed) => {
      await other.publish(channel, message);
      assert.deepEqual(await nextPattern(), ['news:*', channel, message]);
      if (toNamed) assert.deepEqual(await nextNamed(), [channel, message]);
    };
    for (const i of numbers(8)) {
      const channel = `news:${i}`;
      await named.subscribe(channel);
      await publish(channel, 'one', true);
      await publish(channel, 'two', true);
      await named.unsubscribe(channel);
      await publish(channel, 'to nobody', false); // If it arrived, it would stand where the next one is expected.
    }
    await named.subscribe('last');
    await other.publish('last', 'message');
    assert.deepEqual(await nextNamed(), ['last', 'message']);
    await named.unsubscribe('last');
    await pattern.punsubscribe('news:*');
    assert.equal(await named.ping(), 'PONG');
  },

  async 'sharded publish'() {
    const sub = open(mode === 'cluster' ? { shardedSubscribers: true } : {}); // Without it a cluster gets no SSUBSCRIBE.
    const other = open();
    const next = inbox(sub, 'smessage');
    for (const i of numbers(8)) {
      const channel = `shard:${i}`;
      await sub.ssubscribe(channel);
      for (const message of ['one', 'two']) {
        await other.spublish(channel, message);
        assert.deepEqual((await next()).slice(0, 2), [channel, message]);
      }
      await sub.sunsubscribe(channel);
    }
    assert.equal(await other.ping(), 'PONG');
  },

  async 'blocking pop'() {
    const c = open();
    const other = open();
    await other.ping();
    for (const i of numbers(8)) {
      const key = `queue:${i}`;
      assert.deepEqual(await whileBlocked(c.blpop(key, 20), () => other.rpush(key, 'job')), [key, 'job']);
    }
    await other.rpush('queue:full', 'waiting');
    assert.deepEqual(await c.blpop('queue:full', 20), ['queue:full', 'waiting']);
    assert.equal(await c.blpop('queue:none', 0.1), null);
    assert.equal(await c.ping(), 'PONG');
  },

  async 'blocking move'() {
    const c = open();
    const other = open();
    for (const i of numbers(8)) {
      const from = `{move:${i}}:from`;
      const to = `{move:${i}}:to`;
      const command = c.blmove(from, to, 'LEFT', 'RIGHT', 20);
      assert.equal(await whileBlocked(command, () => other.rpush(from, 'job')), 'job');
      assert.deepEqual(await c.blpop(to, 20), [to, 'job']);
    }
  },

  async 'blocking stream'() {
    const c = open();
    const other = open();
    for (const i of numbers(8)) {
      const stream = `stream:${i}`;
      const command = c.xread('BLOCK', 20000, 'STREAMS', stream, '$');
      const [[name, [[, fields]]]] = await whileBlocked(command, () => other.xadd(stream, '*', 'field', 'event'));
      assert.deepEqual([name, fields], [stream, ['field', 'event']]);
    }
    assert.equal(await c.xread('BLOCK', 100, 'STREAMS', 'stream:0', '$'), null);
    assert.equal(await c.ping(), 'PONG');
  },

  async script() {
    const c = open();
    c.defineCommand('addTo', { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])" });
    c.defineCommand('failing', { numberOfKeys: 1, lua: "return redis.error_reply('MINE is an error')" });
    c.defineCommand('takeFrom', { numberOfKeys: 1, lua: "return redis.call('DECRBY', KEYS[1], ARGV[1]) + 0" });
    for (const want of [3, 6]) {
      for (const i of numbers(10)) assert.equal(await c.addTo(`script:${i}`, 3), want);
    }
    await assert.rejects(c.failing('script:0'), /MINE is an error/);
    for (const keys of groups('script')) {
      const p = c.pipeline();
      for (const key of keys) p.set(key, 5).takeFrom(key, 2);
      assert.deepEqual(results(await p.exec()), keys.flatMap(() => ['OK', 3]));
    }
  },

  async 'loaded script'() {
    const c = open();
    const other = open();
    await c.ping(); // A client of a cluster knows its nodes from then on.
    const source = "return redis.call('DECRBY', KEYS[1], ARGV[1])";
    const [sha] = await Promise.all(nodes(c).map((node) => node.script('LOAD', source)));
    const unknown = 'f'.repeat(40);
    assert.deepEqual(await c.script('EXISTS', sha, unknown), [1, 0]);
    for (const i of numbers(10)) {
      assert.equal(await other.evalsha(sha, 1, `loaded:${i}`, 3), -3);
      await assert.rejects(other.evalsha(unknown, 1, `loaded:${i}`, 3), /NOSCRIPT/);
    }
  },

  async scan() {
    const c = open();
    const keys = numbers(300).map((i) => `scan:${i}`);
    await Promise.all(range(20).map((i) => c.set(`not:${i}`, 1)).concat(keys.map((key) => c.set(key, 1))));
    const found = new Set();
    for (const node of nodes(c)) {
      for await (const batch of node.scanStream({ match: 'scan:*' })) {
        for (const key of batch) found.add(key);
      }
    }
    assert.deepEqual([...found].sort(), keys.sort());
  },
};

async function play(run) {
  const limit = new AbortController();
  const late = sleep(waitMs, null, { signal: limit.signal }).then(() => assert.fail(`not within ${waitMs} ms`));
  try {
    await Promise.race([run(), late]);
    return null;
  } catch (error) {
    return error;
  } finally {
    limit.abort();
    late.catch(() => {});
    for (const client of opened.splice(0)) client.disconnect();
  }
}

async function main() {
  let failures = 0;
  let unconnected = null;
  for (const [name, run] of Object.entries(scenarios)) {
    const error = unconnected ?? await play(run);
    if (name === 'connect' && error) unconnected = new Error('not connected');
    if (error) failures += 1;
    console.log(error ? `FAIL ${name}: ${String(error.message).replace(/\s+/g, ' ')}` : `ok ${name}`);
  }
  for (const m of monitors) m.disconnect();
  process.exitCode = failures > 0 ? 1 : 0;
}

main();
