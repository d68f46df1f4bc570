"""What the scenarios share: a line for each check, and rounds until they are enough."""
import os
import sys
import time

URL = os.environ['REDIS_URL']
HOST = os.environ['REDIS_HOST']
PORT = int(os.environ['REDIS_PORT'])
PREFIX = os.environ['KEY_PREFIX']


def check(name, got, want):
    if got != want:
        sys.exit(f'FAIL {name}: {got!r}, want {want!r}')
    print('ok', name, flush=True)


def eventually(name, ask, want, seconds=60):
    """Asks until the answer is the wanted one. Nothing that works takes that long."""
    end = time.monotonic() + seconds
    while (got := ask()) != want and time.monotonic() < end:
        time.sleep(0.02)
    check(name, got, want)


def play(round_of):
    n = 1
    while True:
        round_of(n)
        print('round', n, flush=True)
        if os.path.exists(os.environ['UNTIL']):
            return
        n += 1
