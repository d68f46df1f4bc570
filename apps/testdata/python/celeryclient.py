"""A client of Celery: tasks, results, retries, groups, chains and chords; all waits are for results."""
import os

from celery import chain, chord, group
from celery.exceptions import TimeoutError as TooLate

from celeryjobs import add, app, db, fail, fail_twice, progress, total
from check import check, eventually, play

WAIT = 60


def value(result, **how):
    """Waits for a result. That it is there is published, which may be lost, and kept, which is not."""
    if not os.environ['LOSSY']:
        return result.get(WAIT, **how)
    for _ in range(WAIT):
        try:
            return result.get(1, **how)
        except TooLate:
            eventually('a result that was not heard of', result.ready, True)
    return result.get(1, **how)


def tasks(n):
    check('a task', value(add.delay(n, 1)), n + 1)
    check('a task of another priority', value(add.apply_async((n, 2), priority=6)), n + 2)
    check('a task for later', value(add.apply_async((n, 3), countdown=0.3)), n + 3)
    results = [add.delay(n, i) for i in range(30)]
    check('thirty tasks', [value(r) for r in results], [n + i for i in range(30)])
    check('a task that is tried again', value(fail_twice.delay(f'tries:{n}')), 3)
    failed = fail.delay()
    check('a task that fails', repr(value(failed, propagate=False)), "ValueError('it always fails')")
    failed.forget()
    check('its result is forgotten', app.AsyncResult(failed.id).state, 'PENDING')


def states(n):
    result = progress.delay()
    eventually('a state of its own', lambda: (result.state, result.info), ('HALF', {'done': 50}))
    db.lpush(f'go:{result.id}', 'go')
    check('its end', value(result), 'all')


def canvases(n):
    check('a group', value(group(add.s(i, i) for i in range(10))()), [2 * i for i in range(10)])
    check('a chain', value(chain(add.s(n, 1), add.s(10), add.s(100))()), n + 111)
    check('a chord', value(chord((add.s(i, n) for i in range(10)), total.s())()), 45 + 10 * n)
    nested = chain(group(add.s(i, 1) for i in range(5)), total.s(), add.s(1000))
    check('a chord in a chain', value(nested()), 1015)
    saved = group(add.s(i, i) for i in range(3))()
    saved.save()
    restored = app.GroupResult.restore(saved.id)
    eventually('a saved group', restored.completed_count, 3)
    check('its results', [r.result for r in restored.results], [0, 2, 4])


def control():
    eventually('a worker answers', lambda: [list(r.values()) for r in app.control.ping(timeout=5, limit=1)], [[{'ok': 'pong'}]])


def round_of(n):
    tasks(n)
    states(n)
    canvases(n)
    control()


play(round_of)
