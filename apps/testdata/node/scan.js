// node-redis scans everything there is. The first argument is the name of the package: version 4 takes cursors for
// doubles.
'use strict';

const { url, prefix, check, play } = require('./check');
const { createClient } = require(process.argv[2]);
const five = process.argv[2] === 'redis5';

const total = 600;
let db;

play(async (n) => {
  db ??= await createClient({ url }).connect();
  const keys = Array.from({ length: total }, (_, i) => `${prefix}${n}:scan:${i}`);
  await db.mSet(keys.map((key) => [key, '']));
  const found = new Set();
  let turns = 0;
  for await (const some of db.scanIterator({ MATCH: `${prefix}${n}:scan:*`, COUNT: 10 })) {
    for (const key of five ? some : [some]) found.add(key);
    if (++turns > 2 * total) break;
  }
  check('keys', found.size, total);
  check('the scan ends', turns <= 2 * total, true);
});
