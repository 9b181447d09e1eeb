"""Lines of digits in PyTorch: `python bench/tasks/digits.py FILE [SEEDS]`; lines, model and settings of digits.ts."""

import gzip
import sys
import time

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

path, seeds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
torch.set_num_threads(1)
with (gzip.open if path.endswith(".gz") else open)(path, "rt") as file:
    images = []
    for line in file:
        try:
            row = [float(x) for x in line.split(",")]
        except ValueError:
            continue
        if len(row) == 65:
            images.append(row)


class Random:
    def __init__(self, seed):
        self.state = seed

    def next(self, below):
        self.state = (self.state * 1664525 + 1013904223) % 2**32
        return int(self.state / 2**32 * below)


def lines(random, of, count):
    made = []
    for _ in range(count):
        size = 4 + random.next(5)
        chosen = [of[random.next(len(of))] for _ in range(size)]
        rows = [[image[8 * y + x] for y in range(8)] for image in chosen for x in range(8)]
        made.append((torch.tensor(rows), torch.tensor([int(image[64]) + 1 for image in chosen])))
    return made


class Recognizer(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.rnn = nn.GRU(8, size, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(2 * size, 11)

    def forward(self, rows, lengths):
        packed = pack_padded_sequence(rows, lengths, batch_first=True, enforce_sorted=False)
        steps, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.head(self.drop(steps)).log_softmax(2).transpose(0, 1)


def edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


total = 0.0
for seed in range(1, seeds + 1):
    random = Random(seed)
    mixed = list(images)
    for i in range(len(mixed) - 1, 0, -1):
        k = random.next(i + 1)
        mixed[i], mixed[k] = mixed[k], mixed[i]
    cut = int(0.8 * len(mixed))
    train = lines(random, mixed[:cut], 2000)
    test = lines(random, mixed[cut:], 400)
    torch.manual_seed(seed)
    before = time.process_time()
    every = torch.cat([rows for rows, _ in train])
    mean, deviation = every.mean(0), every.std(0, correction=0)
    deviation[deviation == 0] = 1
    scaled = lambda batch: pad_sequence([(rows - mean) / deviation for rows, _ in batch], batch_first=True)
    model = Recognizer(64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    loss_of = nn.CTCLoss(zero_infinity=True)
    for _ in range(15):
        model.train()
        order = torch.randperm(len(train)).tolist()
        batches = []
        for at in range(0, len(order), 1600):
            pool = sorted(order[at : at + 1600], key=lambda i: len(train[i][0]))
            batches += [pool[k : k + 32] for k in range(0, len(pool), 32)]
        for b in torch.randperm(len(batches)).tolist():
            batch = [train[i] for i in batches[b]]
            lengths = torch.tensor([len(rows) for rows, _ in batch])
            sizes = torch.tensor([len(target) for _, target in batch])
            targets = pad_sequence([target for _, target in batch], batch_first=True)
            optimizer.zero_grad()
            loss = loss_of(model(scaled(batch), lengths), targets, lengths, sizes)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1)
            optimizer.step()
    model.eval()
    wrong = there = 0
    with torch.no_grad():
        for at in range(0, len(test), 64):
            batch = test[at : at + 64]
            lengths = [len(rows) for rows, _ in batch]
            best = model(scaled(batch), torch.tensor(lengths)).argmax(2).T.tolist()
            for (_, target), length, row in zip(batch, lengths, best):
                row = row[:length]
                said = [x for i, x in enumerate(row) if x != 0 and (i == 0 or x != row[i - 1])]
                wrong += edits(said, target.tolist())
                there += len(target)
    seconds = time.process_time() - before
    total += wrong / there
    print(f"seed {seed}: character error {100 * wrong / there:.2f} %, {seconds:.1f} s", flush=True)
print(f"mean character error {100 * total / seeds:.2f} %")
