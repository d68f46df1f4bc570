"""The tasks of the Celery scenario, for both the worker process and the client."""
import redis
from celery import Celery
from celery.signals import worker_ready

from check import URL

app = Celery('jobs', broker=URL, backend=URL)
app.conf.result_extended = True
db = redis.Redis.from_url(URL)


@worker_ready.connect
def tell(**_):
    print('worker is up', flush=True)


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail():
    raise ValueError('it always fails')


@app.task(bind=True, max_retries=3)
def fail_twice(self, counter):
    if (tries := db.incr(counter)) < 3:
        raise self.retry(countdown=0, exc=RuntimeError('not yet'))
    return tries


@app.task(bind=True)
def progress(self):
    self.update_state(state='HALF', meta={'done': 50})
    db.brpop(f'go:{self.request.id}', timeout=60)
    return 'all'
