"""PyTorch's side of the benchmark; bench/peers/protocol.md says what a peer is."""
import json
import sys
import time

import torch
from torch import nn

LEARNING_RATE, MAX_NORM = 0.1, 1.0
w = json.loads(sys.argv[1])
torch.set_num_threads(int(sys.argv[2]))
# As a row lookup, one-hot input costs what an embedding of the gates would.
LOOKUP = len(sys.argv) > 3 and sys.argv[3] == 'lookup'
V, E, H, T, B = w['vocabulary'], w['embedding'], w['hidden'], w['steps'], w['batch']


def indices(count, n):
    state, out = 1, []
    for _ in range(count):
        state = (state * 1103515245 + 12345) & 0xFFFFFFFF
        out.append((state >> 8) % n)
    return out


def recurrent(inputs):
    layer = {'rnn': nn.RNN, 'gru': nn.GRU, 'lstm': nn.LSTM}[w['cell']]
    return layer(inputs, H, num_layers=w['layers'], bidirectional=w['bidirectional'],
                 dropout=w['dropout'] if w['layers'] > 1 else 0)


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(V, E) if E else nn.Embedding(V, H) if LOOKUP else None
        self.rnn = recurrent(E or (H if LOOKUP else V))
        self.dropout = nn.Dropout(w['dropout'])
        self.decoder = nn.Linear(H * (2 if w['bidirectional'] else 1), V)
        if w['tied']:
            self.decoder.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens) if self.embedding else nn.functional.one_hot(tokens, V).float()
        if w['dropout']:
            x = self.dropout(x)
        y, _ = self.rnn(x)
        if w['dropout']:
            y = self.dropout(y)
        return self.decoder(y.reshape(T * B, -1))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = recurrent(V)
        self.decoder = nn.Linear(H, 1)

    def forward(self, x):
        return self.decoder(self.rnn(x)[0])


class Seq2Seq(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.RNN(V, H), nn.RNN(V, H)
        self.out = nn.Linear(H, V)

    def forward(self, source, target):
        _, state = self.encoder(nn.functional.one_hot(source, V).float())
        y, _ = self.decoder(nn.functional.one_hot(target, V).float(), state)
        return self.out(y.reshape(T * B, H))


torch.manual_seed(0)
if w['kind'] == 'tagger':
    model = Tagger()
    x = torch.tensor(indices(T * B * V, 2), dtype=torch.float32).reshape(T, B, V)
    t = torch.tensor(indices(T * B, 2), dtype=torch.float32).reshape(T, B, 1)
    criterion = nn.BCEWithLogitsLoss()
    loss = lambda: criterion(model(x), t)  # noqa: E731
else:
    tokens = torch.tensor(indices(T * B, V)).reshape(T, B)
    targets = torch.tensor(indices(T * B, V))
    criterion = nn.CrossEntropyLoss()
    model = Seq2Seq() if w['kind'] == 'seq2seq' else LanguageModel()
    if w['kind'] == 'seq2seq':
        loss = lambda: criterion(model(tokens, tokens), targets)  # noqa: E731
    else:
        loss = lambda: criterion(model(tokens), targets)  # noqa: E731
optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)

print(json.dumps({'ready': f'PyTorch {torch.__version__}', 'threads': torch.get_num_threads()}),
      flush=True)
for line in sys.stdin:
    begin = time.perf_counter()
    for _ in range(int(line)):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
    print(json.dumps({'seconds': time.perf_counter() - begin, 'loss': value.item()}), flush=True)
