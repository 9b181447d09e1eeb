"""What the peers in Python share: the protocol's lines. See protocol.md."""
import json
import signal
import sys

# Ctrl-C ends a peer at once and in silence.
signal.signal(signal.SIGINT, signal.SIG_DFL)


class Unable(Exception):
    """What a set-up raises for a workload that its framework cannot do."""


def answer(**values):
    print(json.dumps(values), flush=True)


def indices(count, n):
    """Deterministic whole numbers below n, the same in every peer (models.ts), as a numpy array."""
    import numpy
    factor, add, below = 1103515245, 12345, 0xFFFFFFFF
    state = numpy.array([factor + add & below], numpy.uint64)
    while len(state) < count:  # as many steps at once as there are numbers already
        state = numpy.concatenate([state, state * numpy.uint64(factor) + numpy.uint64(add) & numpy.uint64(below)])
        factor, add = factor * factor & below, (factor * add + add) & below
    return ((state[:count] >> numpy.uint64(8)) % numpy.uint64(n)).astype(numpy.int32)


def missing(name):
    """Says that a package is not there, and ends."""
    answer(missing=name)
    sys.exit(0)


def serve(ready, set_up):
    """Answers the runner until the end of its input.

    set_up(workload, threads, mode) gives the threads really used and a function per request.
    """
    arguments = sys.argv[1:]
    if not arguments or arguments[0] == '--version':
        answer(ready=ready)
        return
    workload, threads, mode = json.loads(arguments[0]), int(arguments[1]), (arguments[2:] or [''])[0]
    try:
        used, requests = set_up(workload, threads, mode)
    except Unable as error:
        answer(unable=str(error))
        return
    answer(ready=ready, threads=used)
    for line in sys.stdin:
        (name, count), = json.loads(line).items()
        if name == 'set_up':
            requests.clear()  # what it holds goes before the next is made
            try:
                used, requests = set_up(count, threads, mode)
                answer(ready=ready, threads=used)
            except Unable as error:
                answer(unable=str(error))
        elif name in requests:
            answer(**requests[name](count))
        else:
            answer(unable=f'no {name} here')
