"""iredis, the interactive client: what it asks at its start, and commands of several kinds through its standard input."""
import os
import subprocess

from check import check, play

PREFIX = os.environ['KEY_PREFIX']


def iredis(*lines):
    ran = subprocess.run(
        ['/usr/bin/iredis', '-h', os.environ['REDIS_HOST'], '-p', os.environ['REDIS_PORT']],
        input='\n'.join(line.replace('K:', PREFIX + 'cli:') for line in lines) + '\n',
        capture_output=True, text=True, timeout=50, env={**os.environ, 'HOME': '/nonexistent'}, check=False)
    return [line.replace(PREFIX + 'cli:', 'K:') for line in ran.stdout.splitlines()]


def round_of(n):
    check('strings', iredis(f'SET K:a {n}', 'GET K:a', 'INCR K:a', 'DEL K:a'), ['OK', str(n), str(n + 1), '1'])
    check('lists', iredis('RPUSH K:l x y z', 'LRANGE K:l 0 -1', 'LPOP K:l 2', 'DEL K:l'), ['3', 'x', 'y', 'z', 'x', 'y', '1'])
    check('several keys', iredis('MSET K:a 1 K:b 2', 'MGET K:a K:b', 'DEL K:a K:b'), ['OK', '1', '2', '2'])
    check('hashes', iredis('HSET K:h f 1 g 2', 'HGETALL K:h', 'DEL K:h'), ['2', 'f', '1', 'g', '2', '1'])
    check('a transaction', iredis('MULTI', 'SET K:t 1', 'GET K:t', 'EXEC', 'DEL K:t'), ['OK', 'QUEUED', 'QUEUED', 'OK', '1', '1'])
    check('a database', iredis('SELECT 1', 'SET K:d one', 'SELECT 0', 'EXISTS K:d', 'SELECT 1', 'DEL K:d'), ['OK', 'OK', 'OK', '0', 'OK', '1'])
    check('an error', iredis('SET K:a 1', 'LPUSH K:a x', 'DEL K:a'),
          ['OK', 'ERROR WRONGTYPE Operation against a key holding the wrong kind of value', '1'])
    check('the server', [line.split(':')[0] for line in iredis('INFO server') if line.startswith('redis_version')], ['redis_version'])


play(round_of)
