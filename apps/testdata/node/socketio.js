// Two socket.io servers that know of each other by the Redis adapter, which publishes and counts subscribers.
'use strict';

const { createServer } = require('node:http');
const { createAdapter } = require('@socket.io/redis-adapter');
const { createClient } = require('redis4');
const { Server } = require('socket.io');
const { io } = require('socket.io-client');
const { url, prefix, check, eventually, play } = require('./check');

const servers = [];

async function serve() {
  const pub = createClient({ url });
  const sub = pub.duplicate();
  await Promise.all([pub.connect(), sub.connect()]);
  const http = createServer();
  const server = new Server(http);
  server.adapter(createAdapter(pub, sub, { key: `${prefix}socket.io`, requestsTimeout: 30000 }));
  server.on('connection', (socket) => {
    socket.on('join', (room, answer) => { socket.join(room); answer(); });
    socket.on('ask', (question, answer) => answer(`${question}!`));
  });
  await new Promise((resolve) => { http.listen(0, '127.0.0.1', resolve); });
  servers.push({ server, address: `http://127.0.0.1:${http.address().port}` });
}

// visit connects a client to a server and keeps what it is sent.
async function visit(address) {
  const socket = io(address, { transports: ['websocket'], forceNew: true });
  const got = [];
  socket.onAny((...event) => got.push(event));
  await new Promise((resolve, reject) => { socket.on('connect', resolve).on('connect_error', reject); });
  return { socket, got, join: (room) => socket.emitWithAck('join', room) };
}

play(async (n) => {
  while (servers.length < 2) await serve();
  const [one, two] = servers;
  await eventually('the servers know of each other', () => Promise.all(servers.map((s) => s.server.of('/').adapter.serverCount())), [2, 2]);
  const [a, b] = await Promise.all([visit(one.address), visit(two.address)]);

  one.server.emit('news', n);
  await eventually('a message to all', () => [a.got, b.got], [[['news', n]], [['news', n]]]);

  const room = `room ${n}`;
  await b.join(room);
  one.server.to(room).emit('room', n);
  await eventually('a message to a room on the other server', () => b.got.length, 2);
  check('those who are not in it', a.got.length, 1);

  const found = await one.server.in(room).fetchSockets();
  check('sockets of the other server', found.map((s) => s.id), [b.socket.id]);
  check('an answer from there', await new Promise((resolve, reject) => {
    b.socket.on('how', (answer) => answer('well'));
    one.server.to(room).timeout(30000).emit('how', (error, answers) => (error ? reject(error) : resolve(answers)));
  }), ['well']);
  const heard = new Promise((resolve) => { two.server.once('between servers', resolve); });
  one.server.serverSideEmit('between servers', n);
  check('a message between the servers', await heard, n);

  one.server.in(room).disconnectSockets(true);
  await eventually('all of a room are sent away', () => [a.socket.connected, b.socket.connected], [true, false]);
  a.socket.close();
}, { again: 1 });
