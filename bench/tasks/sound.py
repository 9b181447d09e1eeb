"""Spelling to sound in PyTorch, as bench/tasks/sound.ts does it with models.Seq2Seq: the same words, network,
batches and rates. `python bench/tasks/sound.py FILE [SEEDS]`; the error is that of greedy decoding.
"""
import random
import re
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

torch.set_num_threads(1)
E, H, BATCH, EPOCHS, LR, DROPOUT = 64, 128, 32, 5, 0.003, 0.1
PAD, BEGIN, END = 0, 1, 2


def read(path):
    words = []
    for line in open(path, encoding="latin1"):
        found = re.match(r"^([A-Za-z']+)\s+([A-Z][A-Z0-9 ]*)$", line.strip())
        if found:
            words.append((found[1].lower(), re.sub(r"\d", "", found[2]).split(" ")))
    return words


def draw(words, seed):
    state, keyed = seed, []
    for word in words:
        state = (state * 1664525 + 1013904223) % 2**32
        keyed.append((state / 2**32, word))
    return [word for _, word in sorted(keyed, key=lambda pair: pair[0])][:10_000]


class Model(nn.Module):
    def __init__(self, source, target):
        super().__init__()
        self.read_embedding = nn.Embedding(source, E)
        self.write_embedding = nn.Embedding(target, E)
        self.encoder = nn.GRU(E, H, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(E, H, batch_first=True)
        self.bridge = nn.Linear(2 * H, H)
        self.attend = nn.Linear(2 * H, H, bias=False)
        self.combine = nn.Linear(3 * H, H)
        self.output = nn.Linear(H, target)
        self.drop = nn.Dropout(DROPOUT)

    def encode(self, source, lengths):
        packed = pack_padded_sequence(
            self.drop(self.read_embedding(source)), lengths, batch_first=True, enforce_sorted=False
        )
        out, last = self.encoder(packed)
        memory, _ = pad_packed_sequence(out, batch_first=True)
        start = torch.tanh(self.bridge(torch.cat([last[0], last[1]], 1)))[None]
        ended = torch.arange(memory.shape[1])[None] >= lengths[:, None]
        return memory, self.attend(memory), ended[:, None], start

    def decode(self, before, memory, keys, ended, state):
        h, state = self.decoder(self.drop(self.write_embedding(before)), state)
        weights = (h @ keys.transpose(1, 2)).masked_fill(ended, float("-inf")).softmax(2)
        read = torch.cat([h, weights @ memory], 2)
        return self.output(self.drop(torch.tanh(self.combine(read)))), state


def batches(train, seed):
    order = list(range(len(train)))
    random.Random(seed).shuffle(order)
    found = []
    for at in range(0, len(order), 4 * BATCH):
        pool = sorted(order[at : at + 4 * BATCH], key=lambda i: len(train[i][0]))
        found += [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
    random.Random(seed + 1).shuffle(found)
    return [[train[i] for i in one] for one in found]


def tensors(pairs):
    source = pad_sequence([torch.tensor(a) for a, _ in pairs], batch_first=True)
    target = pad_sequence([torch.tensor(b + [END]) for _, b in pairs], batch_first=True)
    before = torch.cat([torch.full((len(pairs), 1), BEGIN), target[:, :-1]], 1)
    return source, torch.tensor([len(a) for a, _ in pairs]), before, target


def edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


@torch.no_grad()
def greedy(model, pairs):
    wrong = total = 0
    for at in range(0, len(pairs), 100):
        part = pairs[at : at + 100]
        source, lengths, _, _ = tensors(part)
        memory, keys, ended, state = model.encode(source, lengths)
        token, said = torch.full((len(part), 1), BEGIN), []
        for _ in range(25):
            logits, state = model.decode(token, memory, keys, ended, state)
            logits[:, :, [PAD, BEGIN]] = float("-inf")
            token = logits.argmax(2)
            said.append(token)
        for row, (_, truth) in zip(torch.cat(said, 1).tolist(), part):
            row = row[: row.index(END)] if END in row else row
            wrong, total = wrong + edits(row, truth), total + len(truth)
    return wrong / total


def main():
    words = read(sys.argv[1])
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    mean = 0
    for seed in range(1, seeds + 1):
        chosen = draw(words, seed)
        letters = {c: i for i, c in enumerate(sorted({c for w, _ in chosen for c in w}), 1)}
        sounds = {p: i for i, p in enumerate(sorted({p for _, s in chosen for p in s}), 3)}
        pairs = [([letters[c] for c in w], [sounds[p] for p in s]) for w, s in chosen]
        train, test = pairs[:9000], pairs[9000:]
        torch.manual_seed(seed)
        start = time.process_time()
        model = Model(len(letters) + 1, len(sounds) + 3)
        optimizer = torch.optim.Adam(model.parameters(), LR)
        steps = EPOCHS * -(-len(train) // BATCH)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps, pct_start=0.2)
        for epoch in range(EPOCHS):
            for part in batches(train, 100 * seed + epoch):
                source, lengths, before, target = tensors(part)
                logits, _ = model.decode(before, *model.encode(source, lengths))
                loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1)
                optimizer.step()
                rate.step()
        learnt = time.process_time() - start
        model.eval()
        error = greedy(model, test)
        mean += error / seeds
        print(f"seed {seed}: greedy {100 * error:.2f} %, {learnt:.0f} s", flush=True)
    print(f"mean: greedy {100 * mean:.2f} %")


main()
