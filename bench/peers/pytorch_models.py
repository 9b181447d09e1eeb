"""The models of the workloads in PyTorch, as models.ts has them; the tests' fixture uses them too."""
import contextlib
import math
import time

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from pytorch_cells import VARIANTS


def indices(count, n):
    """Deterministic whole numbers below n, the same in every peer."""
    factor, add, below = 1103515245, 12345, 0xFFFFFFFF
    state = torch.tensor([(factor + add) & below], device='cpu')
    while len(state) < count:  # as many steps at once as there are numbers already
        state = torch.cat([state, (state * factor + add) & below])
        factor, add = factor * factor & below, (factor * add + add) & below
    return ((state[:count] >> 8) % n).to(torch.empty(0).device)


class LayerNormLSTM(nn.Module):
    """PyTorch has none: what a user writes, with the input's norm once for all steps. torch.jit.script
    of it is no faster, once it is warm."""

    def __init__(self, inputs, hidden):
        super().__init__()
        bound = hidden ** -0.5
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.norm_ih, self.norm_hh = nn.LayerNorm(4 * hidden), nn.LayerNorm(4 * hidden)
        self.norm_c = nn.LayerNorm(hidden)

    def forward(self, x, state=None):
        from_x = self.norm_ih(x @ self.weight_ih.t())
        if state is None:
            h = c = x.new_zeros(x.size(1), self.weight_hh.size(1))
        else:
            h, c = state
        outputs = []
        for step in from_x.unbind(0):
            i, f, g, o = (step + self.norm_hh(h @ self.weight_hh.t())).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(self.norm_c(c))
            outputs.append(h)
        return torch.stack(outputs), (h, c)


def recurrent(w, inputs):
    if w.get('norms'):
        return LayerNormLSTM(inputs, w['hidden'])
    if w.get('variant'):
        return VARIANTS[w['variant']['name']](inputs, w['hidden'])
    layer = {'rnn': nn.RNN, 'gru': nn.GRU, 'lstm': nn.LSTM}[w['cell']]
    return layer(inputs, w['hidden'], num_layers=w['layers'], bidirectional=w['bidirectional'],
                 dropout=w['dropout'] if w['layers'] > 1 else 0)


def one_hot_or_rows(w, lookup):
    """What turns token numbers into the recurrent layer's input, and the input's width."""
    V, H = w['vocabulary'], w['hidden']
    if w['embedding']:
        return nn.Embedding(V, w['embedding']), w['embedding']
    if lookup:  # what a user writes to spare the one-hot product
        return nn.Embedding(V, H), H
    # float32, but double where the fixture is made.
    return lambda tokens: nn.functional.one_hot(tokens, V).to(torch.get_default_dtype()), V


class LanguageModel(nn.Module):
    def __init__(self, w, lookup):
        super().__init__()
        self.embedding, width = one_hot_or_rows(w, lookup)
        self.rnn = recurrent(w, width)
        self.dropout = nn.Dropout(w['dropout'])
        self.decoder = nn.Linear(w['hidden'] * (2 if w['bidirectional'] else 1), w['vocabulary'])
        self.drops = w['dropout'] > 0
        if w['tied']:
            self.decoder.weight = self.embedding.weight

    def forward(self, tokens, state=None):
        x = self.embedding(tokens)
        if self.drops:
            x = self.dropout(x)
        y, state = self.rnn(x, state)
        if self.drops:
            y = self.dropout(y)
        return self.decoder(y.reshape(-1, y.shape[2])), state


class Sentences(nn.Module):
    """Sequences of unequal lengths: padding calculated and ignored, or packed away."""

    def __init__(self, w):
        super().__init__()
        self.embedding = nn.Embedding(w['vocabulary'], w['embedding'])
        self.rnn = recurrent(w, w['embedding'])
        self.decoder = nn.Linear(w['hidden'] * (2 if w['bidirectional'] else 1), w['vocabulary'])
        self.padded = w.get('padded', False)

    def forward(self, tokens, lengths):
        x = self.embedding(tokens)
        if self.padded:
            y, _ = self.rnn(x)
            return self.decoder(y.reshape(-1, y.shape[2]))
        y, _ = self.rnn(pack_padded_sequence(x, lengths))
        return self.decoder(y.data)


class Tagger(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.rnn = recurrent(w, w['vocabulary'])
        self.decoder = nn.Linear(w['hidden'], 1)

    def forward(self, x, state=None):
        y, state = self.rnn(x, state)
        return self.decoder(y), state


class Seq2Seq(nn.Module):
    def __init__(self, w, lookup):
        super().__init__()
        self.read, width = one_hot_or_rows(w, lookup)
        self.encoder, self.decoder = recurrent(w, width), recurrent(w, width)
        self.out = nn.Linear(w['hidden'], w['vocabulary'])

    def encode(self, source):
        return self.encoder(self.read(source))[1]

    def decode(self, target, state):
        y, state = self.decoder(self.read(target), state)
        return self.out(y.reshape(-1, y.shape[2])), state

    def forward(self, source, target):
        return self.decode(target, self.encode(source))[0]


class Task:
    """A workload's model with its data: forward, backward (the loss, or a layer's output), step."""

    def __init__(self, w, lookup=False):
        V, T, B = w['vocabulary'], w['steps'], w['batch']
        self.w, self.state = w, None
        kind = w['kind']
        self.can_step = kind != 'packed' and not w['bidirectional']
        if kind == 'layer':
            self._layer(w)
            return
        if kind == 'tagger':
            x = indices(T * B * V, 2).float().reshape(T, B, V)
            t = indices(T * B, 2).float().reshape(T, B, 1)
            # The fixtures are made in double precision.
            x, t = x.to(torch.get_default_dtype()), t.to(torch.get_default_dtype())
            criterion = nn.BCEWithLogitsLoss()
            self.model = Tagger(w)
            self.forward = lambda: self.model(x)[0]
            self.loss = lambda: criterion(self.forward(), t)
            self.next = lambda _: self.model(x[:1, :1], self.state)
            return
        tokens, targets = indices(T * B, V).reshape(T, B), indices(T * B, V)
        criterion = nn.CrossEntropyLoss()
        if kind == 'packed':
            lengths = torch.tensor(w['lengths'], device='cpu')  # where packing wants them
            real = (torch.arange(T, device='cpu')[:, None] < lengths[None]).reshape(-1).to(targets.device)
            targets = torch.where(real, targets, -100) if w.get('padded') else targets[real]
            self.model = Sentences(w)
            self.forward = lambda: self.model(tokens, lengths)
        elif kind == 'seq2seq':
            self.model = Seq2Seq(w, lookup)
            self.forward = lambda: self.model(tokens, tokens)
            self.next = lambda token: self.model.decode(token, self.state)
            self.start = lambda: self.model.encode(tokens[:, :1])
        else:
            self.model = LanguageModel(w, lookup)
            self.forward = lambda: self.model(tokens)[0]
            self.next = lambda token: self.model(token, self.state)
        self.loss = lambda: criterion(self.forward(), targets)

    def _layer(self, w):
        def values(width):
            shape = w['steps'], w['batch'], width
            return (indices(math.prod(shape), 256) / 128 - 1).reshape(shape)
        x = values(w['embedding']).requires_grad_()
        gradient = values(w['hidden'] * (2 if w['bidirectional'] else 1))
        self.model = recurrent(w, w['embedding'])
        self.forward = lambda: self.model(x)[0]

        def run(autocast):
            x.grad = None
            with autocast:
                y = self.forward()
            y.backward(gradient.to(y.dtype))
            return y
        self.backward = run

    def backward(self, autocast=contextlib.nullcontext()):
        """The loss, whose gradients have been added up; forward runs in the context."""
        with autocast:
            loss = self.loss()
        loss.backward()
        return loss

    start = staticmethod(lambda: None)

    def generate(self, count):
        """Microseconds that each of `count` tokens took, one at a time, at batch 1."""
        times = []
        layer, tagger = self.w['kind'] == 'layer', self.w['kind'] == 'tagger'
        token, last = 0, torch.zeros(1, 1, self.w['embedding'])
        self.state = self.state if self.state is not None else self.start()
        for _ in range(count):
            begin = time.perf_counter_ns()
            if layer:
                y, self.state = self.model(last, self.state)
                last = y if y.shape == last.shape else last
            else:
                logits, self.state = self.next(None if tagger else torch.tensor([[token]]))
                token = logits.item() if tagger else logits.argmax().item()
            times.append((time.perf_counter_ns() - begin) / 1e3)
        return times
