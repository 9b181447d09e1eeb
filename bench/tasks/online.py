"""Learning online in PyTorch: `python bench/tasks/online.py [SEEDS]`; rows, model and settings of online.ts."""

import math
import sys
import time
from collections import defaultdict, deque

import torch
from torch import nn

seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
torch.set_num_threads(1)
CLIENTS, SENSORS, ROWS, WINDOW = 20, 8, 300, 16


class Source:
    def __init__(self, state):
        self.state = state

    def uniform(self):
        self.state = (self.state * 1664525 + 1013904223) % 2**32
        return self.state / 2**32

    def normal(self):
        return sum(self.uniform() for _ in range(12)) - 6


class Next(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(SENSORS, 64)
        self.head = nn.Linear(64, SENSORS)

    def forward(self, rows, state=None):
        output, state = self.rnn(rows, state)
        return self.head(output), state


totals = [0.0, 0.0, 0.0]
for seed in range(1, seeds + 1):
    source = Source(seed)
    rows = []
    for _ in range(CLIENTS):
        sensors = [
            [6.28 * source.uniform(), 0.3 + 0.9 * source.uniform(), 1 + source.uniform()]
            for _ in range(SENSORS)
        ]
        own = []
        for _ in range(ROWS):
            row = []
            for one in sensors:
                one[1] += 0.004 * source.normal()
                one[2] += 0.01 * source.normal()
                one[0] += one[1]
                row.append(one[2] * math.sin(one[0]) + 0.5 * source.normal())
            own.append(row)
        rows.append(own)
    torch.manual_seed(seed)
    model = Next()
    # Predictions come from a copy, which gets the weights every 20 updates.
    snapshot = Next()
    snapshot.load_state_dict(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    last, states = defaultdict(lambda: deque(maxlen=WINDOW + 1)), {}
    error = persistence = 0.0
    count = updates = 0
    before = time.process_time()
    for t in range(ROWS - 1):
        for client in range(CLIENTS):
            row, after = rows[client][t], rows[client][t + 1]
            with torch.no_grad():
                said, states[client] = snapshot(torch.tensor(row).view(1, 1, -1), states.get(client))
                said = said.flatten().tolist()
            own = last[client]
            own.append(row)
            if len(own) > 1:
                window = torch.tensor(list(own)).unsqueeze(1)
                optimizer.zero_grad()
                nn.functional.mse_loss(model(window[:-1])[0], window[1:]).backward()
                optimizer.step()
                updates += 1
                if updates % 20 == 0:
                    snapshot.load_state_dict(model.state_dict())
            if t >= ROWS / 2:
                error += sum(abs(a - b) for a, b in zip(said, after))
                persistence += sum(abs(a - b) for a, b in zip(row, after))
                count += SENSORS
    each = 1000 * (time.process_time() - before) / CLIENTS / (ROWS - 1)
    one = [error / count, persistence / count, each]
    totals = [a + b / seeds for a, b in zip(totals, one)]
    print("seed %d: error %.3f, persistence %.3f, %.3f ms a row" % (seed, *one), flush=True)
print("mean: error %.3f, persistence %.3f, %.3f ms a row" % tuple(totals))
