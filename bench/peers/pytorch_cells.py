"""Cells and options that PyTorch does not have, as its users write them: modules around nn.LSTM where
that is enough, else a loop over time behind one product of the whole input."""
import torch
from torch import nn
from torch.nn.functional import dropout, logsigmoid, relu, softplus

P = 0.3


class Locked(nn.Module):
    """One mask for all steps, on the input and on the output of an LSTM (AWD-LSTM's LockedDropout)."""

    def __init__(self, inputs, hidden):
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden)

    def drop(self, x):
        return x * dropout(torch.ones_like(x[:1]), P, self.training)

    def forward(self, x, state=None):
        y, state = self.lstm(self.drop(x), state)
        return self.drop(y), state


class WeightDrop(nn.Module):
    """Masks on the recurrent weights (AWD-LSTM)."""

    def __init__(self, inputs, hidden):
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden)

    def forward(self, x, state=None):
        weight = dropout(self.lstm.weight_hh_l0, P, self.training)
        return torch.func.functional_call(self.lstm, {'weight_hh_l0': weight}, (x, state))


class Loop(nn.Module):
    """An LSTM step by step; its heirs change what they are about."""
    gates, states, matrix = 4, 2, True

    def __init__(self, inputs, hidden):
        super().__init__()
        self.hidden = hidden
        self.input = nn.Linear(inputs, self.gates * hidden)
        if self.matrix:
            self.recurrent = nn.Linear(hidden, self.gates * hidden)

    def begin(self, x):
        """Masks of a call."""

    def output(self, state):
        return state[0]

    def forward(self, x, state=None):
        if state is None:
            state = [x.new_zeros(x.size(1), self.hidden) for _ in range(self.states)]
        self.begin(x)
        outputs = []
        for t, row in enumerate(self.input(x).unbind(0)):
            state = self.step(row, *state, t)
            outputs.append(self.output(state))
        return torch.stack(outputs), state

    def step(self, x, h, c, t):
        i, f, g, o = (x + self.recurrent(h)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class RecurrentDropout(Loop):
    def begin(self, x):
        self.kept = dropout(x.new_ones(x.size(1), self.hidden), P, self.training)

    def step(self, x, h, c, t):
        return super().step(x, h * self.kept, c, t)


class Zoneout(Loop):
    def step(self, x, h, c, t):
        new = super().step(x, h, c, t)
        if not self.training:
            return [P * old + (1 - P) * now for old, now in zip((h, c), new)]
        return [torch.where(torch.rand_like(now) < P, old, now) for old, now in zip((h, c), new)]


class Peephole(Loop):
    def __init__(self, inputs, hidden):
        super().__init__(inputs, hidden)
        self.peep = nn.Parameter(torch.zeros(3, hidden))

    def step(self, x, h, c, t):
        i, f, g, o = (x + self.recurrent(h)).chunk(4, 1)
        i, f = torch.sigmoid(i + self.peep[0] * c), torch.sigmoid(f + self.peep[1] * c)
        c = f * c + i * torch.tanh(g)
        return torch.sigmoid(o + self.peep[2] * c) * torch.tanh(c), c


class ResetBefore(Loop):
    gates, states = 3, 1

    def step(self, x, h, t):
        xr, xz, xn = x.chunk(3, 1)
        weight, bias = self.recurrent.weight, self.recurrent.bias
        two = 2 * self.hidden
        r, z = torch.sigmoid(torch.cat((xr, xz), 1) + h @ weight[:two].t() + bias[:two]).chunk(2, 1)
        n = torch.tanh(xn + (r * h) @ weight[two:].t() + bias[two:])
        return [n + z * (h - n)]


def some(x, share):
    """(T, N, 1): 1 at this share of the steps."""
    return (torch.rand(x.size(0), x.size(1), 1) < share).to(x)


class Reset(Loop):
    def begin(self, x):
        self.kept = 1 - some(x, 0.03)

    def step(self, x, h, c, t):
        return super().step(x, h * self.kept[t], c * self.kept[t], t)


class Mask(Loop):
    def begin(self, x):
        self.real = some(x, 0.97) > 0

    def step(self, x, h, c, t):
        new = super().step(x, h, c, t)
        return [torch.where(self.real[t], now, old) for old, now in zip((h, c), new)]


class IndRNN(Loop):
    gates, states, matrix = 1, 1, False

    def __init__(self, inputs, hidden):
        super().__init__(inputs, hidden)
        self.u = nn.Parameter(torch.rand(hidden))

    def step(self, x, h, t):
        return [relu(x + self.u * h)]


class SRU(Loop):
    gates, states, matrix = 3, 1, False

    def __init__(self, inputs, hidden):
        super().__init__(inputs, hidden)
        self.v = nn.Parameter(torch.zeros(2, hidden))

    def step(self, x, c, t):
        value, f, r = x.chunk(3, 1)
        f, r = torch.sigmoid(f + self.v[0] * c), torch.sigmoid(r + self.v[1] * c)
        c = f * c + (1 - f) * value
        self.r = r
        return [c]

    def forward(self, x, state=None):
        if state is None:
            state = [x.new_zeros(x.size(1), self.hidden)]
        outputs = []
        for row, step in zip(x.unbind(0), self.input(x).unbind(0)):
            state = self.step(step, *state, 0)
            outputs.append(self.r * state[0] + (1 - self.r) * row)
        return torch.stack(outputs), state


class MinGRU(nn.Module):
    """The parallel scan in log space of Feng et al. 2024."""

    def __init__(self, inputs, hidden):
        super().__init__()
        self.input = nn.Linear(inputs, 2 * hidden)

    def forward(self, x, state=None):
        z, h = self.input(x).chunk(2, 2)
        h = torch.where(h >= 0, (relu(h) + 0.5).log(), -softplus(-h))
        return self.scan(-softplus(z), -softplus(-z) + h, x, state)

    @staticmethod
    def scan(log_a, log_b, x, state):
        """h(t) = a(t) h(t-1) + b(t)"""
        if state is not None:
            log_b = torch.cat((state.log().unsqueeze(0), log_b))
            log_a = torch.cat((torch.zeros_like(log_a[:1]), log_a))
        sums = log_a.cumsum(0)
        y = (sums + (log_b - sums).logcumsumexp(0)).exp()[-len(x):]
        return y, y[-1]


class MinLSTM(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.input = nn.Linear(inputs, 3 * hidden)

    def forward(self, x, state=None):
        f, i, h = self.input(x).chunk(3, 2)
        h = torch.where(h >= 0, (relu(h) + 0.5).log(), -softplus(-h))
        difference = softplus(-f) - softplus(-i)
        return MinGRU.scan(-softplus(difference), -softplus(-difference) + h, x, state)


class SLSTM(Loop):
    states = 4

    def step(self, x, h, c, n, m, t):
        i, f, z, o = (x + self.recurrent(h)).chunk(4, 1)
        kept = logsigmoid(f) + m
        m = torch.maximum(kept, i)
        i, f = torch.exp(i - m), torch.exp(kept - m)
        c = f * c + i * torch.tanh(z)
        n = f * n + i
        return torch.sigmoid(o) * c / n, c, n, m


#: By the names of the variants in ts/bench/workloads.ts.
VARIANTS = {
    'lockedDropout': Locked, 'weightDropout': WeightDrop, 'composed': Loop,
    'recurrentDropout': RecurrentDropout, 'zoneout': Zoneout, 'peephole': Peephole,
    'resetBefore': ResetBefore, 'reset': Reset, 'mask': Mask, 'IndRNN': IndRNN, 'SRU': SRU,
    'MinGRU': MinGRU, 'MinLSTM': MinLSTM, 'SLSTM': SLSTM,
}
