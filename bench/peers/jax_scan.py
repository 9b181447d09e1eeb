"""JAX's side of the benchmark (optional); bench/peers/protocol.md says what a peer is.

Everything of a step is one compiled function with a lax.scan over time in it; one-hot input is a
row lookup of the first layer's weights.
"""
import os
import sys
import time

from serve import Unable, indices, missing, serve

# XLA takes as many threads as it may use processors.
if len(sys.argv) > 2 and hasattr(os, 'sched_setaffinity'):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[2])])
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
try:
    import jax
except ImportError:
    missing('jax')
import jax.numpy as jnp  # noqa: E402
import numpy  # noqa: E402

LEARNING_RATE, MAX_NORM = 0.1, 1.0
GATES = {'rnn': 1, 'gru': 3, 'lstm': 4}


def cell(kind, p, state, gates):
    """One step from the input's part of the gates [B, G * H]; the state is a tuple."""
    h = state[0]
    if kind == 'rnn':
        return (jnp.tanh(gates + h @ p['hh'] + p['bhh']),)
    recurrent = h @ p['hh'] + p['bhh']
    if kind == 'gru':
        (ir, iz, i_n), (hr, hz, hn) = jnp.split(gates, 3, -1), jnp.split(recurrent, 3, -1)
        r, z = jax.nn.sigmoid(ir + hr), jax.nn.sigmoid(iz + hz)
        n = jnp.tanh(i_n + r * hn)
        return ((1 - z) * n + z * h,)
    i, f, g, o = jnp.split(gates + recurrent, 4, -1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def zero_state(w, batch):
    h = jnp.zeros((batch, w['hidden']))
    return (h, h) if w['cell'] == 'lstm' else (h,)


def network(w, layers, x, state=None, drop=lambda x: x):
    """x [T, B, I], or token numbers [T, B] for a row lookup; outputs and the states of all layers."""
    batch, states = x.shape[1], []
    for k, directions in enumerate(layers):
        ys = []
        for d, p in enumerate(directions):
            gates = (p['ih'][x] if x.ndim == 2 else x @ p['ih']) + p['bih']

            def step(s, g, p=p):
                s = cell(w['cell'], p, s, g)
                return s, s[0]
            start = state[k * len(directions) + d] if state else zero_state(w, batch)
            last, y = jax.lax.scan(step, start, gates, reverse=d == 1)
            ys.append(y)
            states.append(last)
        x = jnp.concatenate(ys, -1) if len(ys) > 1 else ys[0]
        if k + 1 < len(layers):
            x = drop(x)
    return x, states


def parameters(w):
    """Uniform numbers of the usual size, as nested dicts and lists."""
    key = iter(jax.random.split(jax.random.PRNGKey(0), 1000))
    H, V, kind = w['hidden'], w['vocabulary'], w['kind']

    def uniform(*shape):
        bound = H ** -0.5
        return jax.random.uniform(next(key), shape, minval=-bound, maxval=bound)

    def stack():
        directions, n = 2 if w['bidirectional'] else 1, GATES[w['cell']] * H
        first = w['embedding'] or V
        inputs = [first] + [directions * H] * (w['layers'] - 1)
        return [[dict(ih=uniform(i, n), hh=uniform(H, n), bih=uniform(n), bhh=uniform(n))
                 for _ in range(directions)] for i in inputs]

    p = {'layers': stack()}
    outputs = {'layer': 0, 'tagger': 1}.get(kind, V)
    if kind == 'seq2seq':
        p['decoder'] = stack()
    if w['embedding'] and kind != 'layer':
        p['embedding'] = uniform(V, w['embedding'])
    if outputs:
        p['bias'] = uniform(outputs)
        if not w['tied']:
            p['out'] = uniform(H * (2 if w['bidirectional'] else 1), outputs)
    return p


def logits(w, p, y):
    return y @ (p['embedding'].T if w['tied'] else p['out']) + p['bias']


def set_up(w, threads, _):
    if w['kind'] == 'packed':
        raise Unable('JAX has no packed sequences')
    T, B, H, V, kind = w['steps'], w['batch'], w['hidden'], w['vocabulary'], w['kind']
    if kind == 'layer':
        def values(width):
            return jnp.asarray(indices(T * B * width, 256) / 128 - 1, jnp.float32).reshape(T, B, width)
        x, gradient = values(w['embedding']), values(H * (2 if w['bidirectional'] else 1))
    elif kind == 'tagger':
        x = jnp.asarray(indices(T * B * V, 2), jnp.float32).reshape(T, B, V)
        targets = jnp.asarray(indices(T * B, 2), jnp.float32).reshape(T, B, 1)
    else:
        x = jnp.asarray(indices(T * B, V)).reshape(T, B)
        targets = x

    def forward(p, x, state=None, key=None):
        def drop(y):
            if key is None or not w['dropout']:
                return y
            keep = jax.random.bernoulli(jax.random.fold_in(key, y.shape[-1]), 1 - w['dropout'], y.shape)
            return jnp.where(keep, y / (1 - w['dropout']), 0)
        if kind == 'seq2seq' and state is None:
            _, state = network(w, p['layers'], x)
        read = p['embedding'][x] if 'embedding' in p else x
        y, state = network(w, p['decoder' if kind == 'seq2seq' else 'layers'], drop(read)
                           if 'embedding' in p else read, state, drop)
        return (y if kind == 'layer' else logits(w, p, drop(y))), state

    def loss(p, x, key):
        y, _ = forward(p, x, key=key)
        if kind == 'layer':
            return (y * gradient).sum()
        if kind == 'tagger':
            return (jnp.maximum(y, 0) - y * targets + jnp.log1p(jnp.exp(-jnp.abs(y)))).mean()
        return -jnp.take_along_axis(jax.nn.log_softmax(y), targets[..., None], -1).mean()

    @jax.jit
    def train_step(p, x, key):
        key, use = jax.random.split(key)
        if kind == 'layer':
            value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(p, x, use)
            return p, key, value, gradients
        value, gradients = jax.value_and_grad(loss)(p, x, use)
        norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree_util.tree_leaves(gradients)))
        rate = LEARNING_RATE * jnp.minimum(1, MAX_NORM / (norm + 1e-6))
        return jax.tree_util.tree_map(lambda a, g: a - rate * g, p, gradients), key, value, None

    infer_step = jax.jit(lambda p, x: forward(p, x)[0])
    one = jax.jit(lambda p, x, state: forward(p, x, state))
    now = {'p': parameters(w), 'key': jax.random.PRNGKey(1), 'state': None}

    def train(steps):
        begin, value = time.perf_counter(), None
        for _ in range(steps):
            now['p'], now['key'], value, rest = train_step(now['p'], x, now['key'])
        jax.block_until_ready((now['p'], value, rest))
        seconds = time.perf_counter() - begin
        return {'seconds': seconds} if kind == 'layer' else {'seconds': seconds, 'loss': float(value)}

    def infer(batches):
        begin = time.perf_counter()
        for _ in range(batches):
            infer_step(now['p'], x).block_until_ready()
        return {'seconds': time.perf_counter() - begin}

    def generate(tokens):
        times, token = [], x[:1, :1]
        if now['state'] is None:
            encode = kind == 'seq2seq'
            now['state'] = network(w, now['p']['layers'], x[:, :1])[1] if encode else \
                [zero_state(w, 1) for _ in range(w['layers'])]
        for _ in range(tokens):
            begin = time.perf_counter_ns()
            y, now['state'] = one(now['p'], token, now['state'])
            if kind == 'layer':
                y.block_until_ready()
                token = y if y.shape == token.shape else token
            elif kind == 'tagger':
                y.item()
            else:
                token = numpy.full((1, 1), int(numpy.asarray(y).argmax()), numpy.int32)
            times.append((time.perf_counter_ns() - begin) / 1e3)
        return {'microseconds': times}

    requests = {'train': train, 'infer': infer}
    if not w['bidirectional']:
        requests['generate'] = generate
    return threads, requests


serve(f'JAX {jax.__version__}', set_up)
