"""A client of Celery: tasks, results, retries, groups, chains and chords; all waits are for results."""
from celery import chain, chord, group

from celeryjobs import add, app, db, fail, fail_twice, progress, total
from check import check, eventually, play

WAIT = 60


def tasks(n):
    check('a task', add.delay(n, 1).get(WAIT), n + 1)
    check('a task of another priority', add.apply_async((n, 2), priority=6).get(WAIT), n + 2)
    check('a task for later', add.apply_async((n, 3), countdown=0.3).get(WAIT), n + 3)
    results = [add.delay(n, i) for i in range(30)]
    check('thirty tasks', [r.get(WAIT) for r in results], [n + i for i in range(30)])
    check('a task that is tried again', fail_twice.delay(f'tries:{n}').get(WAIT), 3)
    failed = fail.delay()
    check('a task that fails', repr(failed.get(WAIT, propagate=False)), "ValueError('it always fails')")
    failed.forget()
    check('its result is forgotten', app.AsyncResult(failed.id).state, 'PENDING')


def states(n):
    result = progress.delay()
    eventually('a state of its own', lambda: (result.state, result.info), ('HALF', {'done': 50}))
    db.lpush(f'go:{result.id}', 'go')
    check('its end', result.get(WAIT), 'all')


def canvases(n):
    check('a group', group(add.s(i, i) for i in range(10))().get(WAIT), [2 * i for i in range(10)])
    check('a chain', chain(add.s(n, 1), add.s(10), add.s(100))().get(WAIT), n + 111)
    check('a chord', chord((add.s(i, n) for i in range(10)), total.s())().get(WAIT), 45 + 10 * n)
    nested = chain(group(add.s(i, 1) for i in range(5)), total.s(), add.s(1000))
    check('a chord in a chain', nested().get(WAIT), 1015)
    saved = group(add.s(i, i) for i in range(3))()
    saved.save()
    restored = app.GroupResult.restore(saved.id)
    eventually('a saved group', restored.completed_count, 3)
    check('its results', [r.result for r in restored.results], [0, 2, 4])


def control():
    check('a worker answers', [list(r.values()) for r in app.control.ping(timeout=5, limit=1)], [[{'ok': 'pong'}]])


def round_of(n):
    tasks(n)
    states(n)
    canvases(n)
    control()


play(round_of)
