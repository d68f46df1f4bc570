"""Django: its cache, and sessions that are kept there, as pages of a site use them."""
import threading

import django
from django.conf import settings
from django.http import HttpResponse
from django.test import Client
from django.urls import path

from check import PREFIX, URL, check, play

settings.configure(
    SECRET_KEY='a test', ROOT_URLCONF=__name__, ALLOWED_HOSTS=['*'], DEBUG=True,
    INSTALLED_APPS=['django.contrib.sessions'], MIDDLEWARE=['django.contrib.sessions.middleware.SessionMiddleware'],
    SESSION_ENGINE='django.contrib.sessions.backends.cache',
    CACHES={'default': {
        'BACKEND': 'django_redis.cache.RedisCache', 'LOCATION': URL + '/1', 'KEY_PREFIX': PREFIX.rstrip(':') + 'site',  # It finds its own name of a key by the colons.
        'OPTIONS': {'CLIENT_CLASS': 'django_redis.client.DefaultClient'},
    }},
)


def visit(request):
    request.session['visits'] = request.session.get('visits', 0) + 1
    return HttpResponse(str(request.session['visits']))


def leave(request):
    request.session.flush()
    return HttpResponse('bye')


urlpatterns = [path('visit', visit), path('leave', leave)]
django.setup()

from django.core.cache import cache  # noqa: E402 - only after the settings


def values(n):
    many = {f'{n}:{i}': {'number': i, 'text': 'x' * i} for i in range(50)}
    check('set_many', cache.set_many(many, timeout=100), None)
    check('get_many', cache.get_many([*many, 'none']), many)
    check('get_or_set', cache.get_or_set(f'{n}:new', lambda: [1, 2], 100), [1, 2])
    check('add', (cache.add(f'{n}:new', 'other'), cache.get(f'{n}:new')), (False, [1, 2]))
    cache.set(f'{n}:count', 5, timeout=None)
    check('incr', (cache.incr(f'{n}:count', 3), cache.decr(f'{n}:count')), (8, 7))
    check('ttl', (cache.ttl(f'{n}:count'), 0 < cache.ttl(f'{n}:0') <= 100), (None, True))
    check('version', (cache.incr_version(f'{n}:count'), cache.get(f'{n}:count', version=2)), (2, 7))
    check('keys', sorted(cache.keys(f'{n}:1?')), sorted(f'{n}:{i}' for i in range(10, 20)))
    check('delete_many', cache.delete_many(list(many)), 50)
    check('delete_pattern', (cache.delete_pattern(f'{n}:*'), cache.get(f'{n}:new')), (1, None))
    check('a version is another key', cache.delete_pattern(f'{n}:*', version=2), 1)


def locks(n):
    cache.set(f'{n}:locked', 0)

    def count():
        for _ in range(5):
            with cache.lock(f'{n}:lock', timeout=100, sleep=0.001):
                cache.set(f'{n}:locked', cache.get(f'{n}:locked') + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check('a lock', cache.get(f'{n}:locked'), 20)


def sessions():
    one, other = Client(), Client()
    check('a session', [one.get('/visit').content for _ in range(3)], [b'1', b'2', b'3'])
    check('another one', other.get('/visit').content, b'1')
    one.get('/leave')
    check('it is over', (one.get('/visit').content, other.get('/visit').content), (b'1', b'2'))


def round_of(n):
    values(n)
    locks(n)
    sessions()


play(round_of)
