"""Keras' side of the benchmark, on TensorFlow (optional); bench/peers/protocol.md says what a peer is.

The step is a compiled graph: with XLA where that works, without where it does not. One-hot input is
a row lookup as wide as the layer.
"""
import os
import time

from serve import Unable, indices, missing, serve

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')
try:
    import tensorflow as tf
except ImportError:
    missing('tensorflow')
from tensorflow import keras  # noqa: E402

LEARNING_RATE, MAX_NORM = 0.1, 1.0


def build(w, batch, steps, stateful):
    """The functional model, for whole sequences or for one token at a time."""
    layers, kind, H, V = keras.layers, w['kind'], w['hidden'], w['vocabulary']
    cell = {'rnn': layers.SimpleRNN, 'gru': layers.GRU, 'lstm': layers.LSTM}[w['cell']]
    if kind == 'lm':
        x = start = keras.Input((steps,), batch_size=batch, dtype='int32')
        x = layers.Embedding(V, w['embedding'] or H)(x)
    else:
        inputs = V if kind == 'tagger' else w['embedding']
        x = start = keras.Input((steps, inputs), batch_size=batch)
    for _ in range(w['layers']):
        if w['dropout']:
            x = layers.Dropout(w['dropout'])(x)
        layer = cell(H, return_sequences=True, stateful=stateful)
        x = (layers.Bidirectional(layer) if w['bidirectional'] else layer)(x)
    if w['dropout']:
        x = layers.Dropout(w['dropout'])(x)
    outputs = {'lm': V, 'tagger': 1}.get(kind)
    return keras.Model(start, layers.Dense(outputs)(x) if outputs else x)


def set_up(w, threads, _):
    kind, T, B, V, H = w['kind'], w['steps'], w['batch'], w['vocabulary'], w['hidden']
    if kind in ('packed', 'seq2seq') or w['tied']:
        raise Unable(f'no tied {kind} model here' if w['tied'] else f'no {kind} model here')
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)
    model = build(w, B, T, False)
    if kind == 'lm':
        x = targets = tf.reshape(tf.constant(indices(T * B, V)), (B, T))
        criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    elif kind == 'tagger':
        x = tf.reshape(tf.constant(indices(T * B * V, 2), tf.float32), (B, T, V))
        targets = tf.reshape(tf.constant(indices(T * B, 2), tf.float32), (B, T, 1))
        criterion = keras.losses.BinaryCrossentropy(from_logits=True)
    else:
        def values(width):
            numbers = tf.constant(indices(T * B * width, 256), tf.float32)
            return tf.reshape(numbers / 128 - 1, (B, T, width))
        x, targets = values(w['embedding']), values(H * (2 if w['bidirectional'] else 1))
        criterion = lambda gradient, y: tf.reduce_sum(y * gradient)  # noqa: E731
    optimizer = keras.optimizers.SGD(LEARNING_RATE, global_clipnorm=MAX_NORM)
    optimizer.build(model.trainable_variables)

    def step():
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = criterion(targets, model(x, training=True))
        variables = model.trainable_variables
        if kind == 'layer':
            # Returned, so that they are calculated.
            return value, tape.gradient(value, [x, *variables])
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables))
        return value, ()

    try:
        train_step = tf.function(step, jit_compile=True)
        train_step()
    except Exception:  # noqa: BLE001: XLA does not know every operation of every version
        train_step = tf.function(step)
    infer_step = tf.function(lambda: model(x, training=False))
    now = {}

    def train(steps):
        begin = time.perf_counter()
        for _ in range(steps):
            value, _ = train_step()
        value = float(value)
        seconds = time.perf_counter() - begin
        return {'seconds': seconds} if kind == 'layer' else {'seconds': seconds, 'loss': value}

    def infer(batches):
        begin = time.perf_counter()
        for _ in range(batches):
            infer_step().numpy()
        return {'seconds': time.perf_counter() - begin}

    def generate(tokens):
        if not now:
            one = build(w, 1, 1, True)
            now['one'] = tf.function(lambda token: one(token, training=False))
            now['token'] = x[:1, :1]
        times = []
        for _ in range(tokens):
            begin = time.perf_counter_ns()
            y = now['one'](now['token']).numpy()
            if kind == 'lm':
                now['token'] = tf.constant([[y.argmax()]], tf.int32)
            elif kind == 'layer':
                if y.shape == now['token'].shape:
                    now['token'] = tf.constant(y)
            times.append((time.perf_counter_ns() - begin) / 1e3)
        return {'microseconds': times}

    requests = {'train': train, 'infer': infer}
    if not w['bidirectional']:
        requests['generate'] = generate
    return threads, requests


serve(f'Keras {keras.__version__}, TensorFlow {tf.__version__}', set_up)
