// BullMQ: delayed, prioritised and repeated jobs, retries and a flow, added here and worked in the same process. Its
// scripts name up to a dozen keys each. By default its keys have no hash tag; its page says to give it a prefix with one
// for a cluster.
'use strict';

const { Queue, Worker, QueueEvents, FlowProducer, Job } = require('bullmq');
const { host, port, prefix: tag, check, eventually, play } = require('./check');

const options = { connection: { host, port }, ...(tag && { prefix: tag.slice(0, -1) }) };
const done = []; // of the round that is played

async function work(job) {
  if (job.name === 'flaky' && job.attemptsMade === 0) throw new Error('the first time it fails');
  if (job.name === 'total') {
    const values = Object.values(await job.getChildrenValues());
    return values.reduce((a, b) => a + b, 0);
  }
  await job.updateProgress(50);
  done.push(job.data.is ?? job.name);
  return job.data.number ?? job.name;
}

async function round(n) {
  const name = `jobs-${n}`;
  const queue = new Queue(name, options);
  const events = new QueueEvents(name, options);
  const worker = new Worker(name, work, { ...options, autorun: false });
  const problems = [];
  for (const part of [queue, events, worker]) part.on('error', (error) => problems.push(String(error)));
  done.length = 0;
  await events.waitUntilReady();

  await queue.addBulk([3, 1, 2].map((priority) => ({ name: `priority ${priority}`, data: {}, opts: { priority } })));
  const last = await queue.add('last', {}, { priority: 100 });
  check('prioritised jobs wait', await queue.getPrioritizedCount(), 4);
  worker.run();
  check('the result of a job', await last.waitUntilFinished(events), 'last');
  check('they come in their order', done.splice(0), ['priority 1', 'priority 2', 'priority 3', 'last']);

  const delayed = await queue.add('delayed', {}, { delay: 300 });
  check('the result of a delayed job', await delayed.waitUntilFinished(events), 'delayed');
  const { processedOn, timestamp } = await Job.fromId(queue, delayed.id);
  check('it has waited', processedOn - timestamp >= 300, true);

  await queue.upsertJobScheduler('ticks', { every: 100, limit: 3 }, { name: 'tick' });
  await eventually('a repeated job', () => done.filter((is) => is === 'tick').length, 3);
  await queue.removeJobScheduler('ticks');
  done.length = 0;

  const flaky = await queue.add('flaky', {}, { attempts: 3, backoff: { type: 'fixed', delay: 50 } });
  check('a job that is tried again', await flaky.waitUntilFinished(events), 'flaky');
  check('as often as it had to', (await Job.fromId(queue, flaky.id)).attemptsMade, 2);

  const flows = new FlowProducer(options);
  const children = [1, 2, 3].map((number) => ({ name: 'part', queueName: name, data: { number } }));
  const flow = await flows.add({ name: 'total', queueName: name, children });
  check('a job and its children', await flow.job.waitUntilFinished(events), 6);

  await queue.addBulk(Array.from({ length: 100 }, (_, i) => ({ name: 'many', data: { number: i } })));
  await eventually('a hundred jobs', () => done.filter((is) => is === 'many').length, 100);
  await queue.pause();
  await queue.add('paused', {});
  check('a queue that pauses', (await queue.getJobCounts('paused')).paused, 1);
  await queue.resume();
  await eventually('and goes on', () => done.includes('paused'), true);

  for (const part of [worker, events, flows]) await part.close();
  await queue.obliterate({ force: true });
  await queue.close();
  check('nothing went wrong on the way', problems, []);
}

play(round);
