"""A client of RQ: two queues, results, dependencies, failures and retries."""
import rq

from check import check, eventually, play
from rqjobs import add, db, fail, fail_once

high, low = rq.Queue('high', connection=db), rq.Queue('low', connection=db)


def result(job):
    job.refresh()
    return job.result


def round_of(n):
    jobs = [queue.enqueue(add, n, i) for i in range(5) for queue in (high, low)]
    eventually('jobs of two queues', lambda: [result(j) for j in jobs], [n + i for i in range(5) for _ in range(2)])

    first = low.enqueue(add, n, 1)
    second = high.enqueue(add, n, 2, depends_on=first)
    eventually('a job that depends on another', lambda: result(second), n + 2)
    check('which came first', first.get_status(), 'finished')

    failed = low.enqueue(fail)
    eventually('a job that fails', failed.get_status, 'failed')
    failed.refresh()
    check('its error', 'it always fails' in failed.exc_info, True)
    eventually('it is kept', lambda: failed.id in rq.registry.FailedJobRegistry(queue=low), True)
    failed.delete()
    check('until it is deleted', failed.id in rq.registry.FailedJobRegistry(queue=low), False)

    again = high.enqueue(fail_once, f'tries:{n}', retry=rq.Retry(max=2))
    eventually('a job that is tried again', lambda: result(again), 'done')

    many = low.enqueue_many([rq.Queue.prepare_data(add, (n, i)) for i in range(3)])
    eventually('jobs at once', lambda: [result(j) for j in many], [n, n + 1, n + 2])
    check('nothing is left', [high.count, low.count], [0, 0])
    eventually('the finished ones are listed', lambda: len(rq.registry.FinishedJobRegistry(queue=low)) >= 9, True)
    check('workers', [sorted(w.queue_names()) for w in rq.Worker.all(connection=db)], [['high', 'low']])


play(round_of)
