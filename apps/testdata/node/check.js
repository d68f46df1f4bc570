// What the scenarios share: a line for each check, and rounds until they are enough.
'use strict';

const assert = require('node:assert/strict');
const { existsSync } = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');

const { REDIS_URL: url, REDIS_HOST: host, REDIS_PORT: port, KEY_PREFIX: prefix, UNTIL: until } = process.env;

function check(name, got, want) {
  assert.deepEqual(got, want, name);
  console.log(`ok ${name}`);
}

// eventually asks until the answer is the wanted one. Nothing that works takes that long.
async function eventually(name, ask, want, seconds = 50) {
  const end = performance.now() + seconds * 1000;
  const text = JSON.stringify(want);
  let got = await ask();
  while (JSON.stringify(got) !== text && performance.now() < end) {
    await sleep(20);
    got = await ask();
  }
  check(name, got, want);
}

// play ends the process: what is still open must not keep it. While a failover is to come, as many rounds as again says
// may fail: what is published while the master changes may be lost (docs/PUBSUB.md).
function play(round, { again = 0 } = {}) {
  (async () => {
    for (let n = 1; ; n++) {
      const failover = !existsSync(until);
      try {
        await round(n);
      } catch (error) {
        if (!failover || again-- === 0) throw error;
        console.log('again, after', error.message);
      }
      console.log(`round ${n}`);
      if (existsSync(until)) process.exit(0);
    }
  })().catch((error) => {
    console.log('FAIL', error);
    process.exit(1);
  });
}

module.exports = { url, host, port: Number(port), prefix, check, eventually, play, sleep };
