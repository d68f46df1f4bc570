"""The jobs of the RQ scenario, for both the worker process and the client."""
import os

import redis

db = redis.Redis.from_url(os.environ['REDIS_URL'])


def add(x, y):
    return x + y


def fail():
    raise ValueError('it always fails')


def fail_once(counter):
    if db.incr(counter) == 1:
        raise RuntimeError('the first time it fails')
    return 'done'
