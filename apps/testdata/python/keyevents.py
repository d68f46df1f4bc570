"""The start of a web framework that keeps sessions: it has the server tell of keys that end, and listens for that."""
import redis

from check import PREFIX, URL, check, eventually, play

db = redis.Redis.from_url(URL, decode_responses=True)
events = db.pubsub(ignore_subscribe_messages=True)


def turn_on():
    have = db.config_get('notify-keyspace-events')['notify-keyspace-events']
    if not {'E', 'g', 'x'} <= set(have.replace('A', 'gx')):
        check('CONFIG SET', db.config_set('notify-keyspace-events', 'Egx'), True)
    check('CONFIG GET', set('Egx') <= set(db.config_get('notify-keyspace-events')['notify-keyspace-events']), True)


def listen():
    events.psubscribe('__keyevent@*__:del', '__keyevent@*__:expired')
    events.get_message(timeout=5)
    events.get_message(timeout=5)


def round_of(n):
    sessions = [f'{PREFIX}session:{n}:{i}' for i in range(4)]
    for key in sessions[:2]:
        db.set(key, 'over soon', px=50)
    for key in sessions[2:]:
        db.set(key, 'left', ex=1000)
        db.delete(key)
    got = set()

    def heard():
        if message := events.get_message(timeout=1):
            got.add((message['channel'].rpartition(':')[2], message['data']))
        for key in sessions[:2]:
            db.exists(key)  # Who asks has it found out.
        return sorted(got)

    want = [('del', key) for key in sessions[2:]] + [('expired', key) for key in sessions[:2]]
    eventually('events of keys that end', heard, sorted(want))


turn_on()
listen()
play(round_of)
