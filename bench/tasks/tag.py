"""Stress of spoken words in PyTorch: `python bench/tasks/tag.py FILE [SEEDS] [crf|plain]`; words, model and settings of tag.ts.

Tags are decoded as there: the likeliest way of what BIO tags can mean.
"""

import re
import sys
import time

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

path, seeds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
kinds = {"crf": [True], "plain": [False]}.get(sys.argv[3] if len(sys.argv) > 3 else "", [False, True])
torch.set_num_threads(1)
words = []
for line in open(path, encoding="latin1"):
    match = re.fullmatch(r"[A-Za-z']+\s+([A-Z][A-Z0-9 ]*)", line.strip())
    phonemes = match[1].split(" ") if match else []
    if len(phonemes) < 3:
        continue
    stress, tags = None, []
    for one in phonemes:
        mark = re.search(r"\d", one)
        stress = mark[0] if mark else stress
        tags.append("O" if stress is None else ("B-" if mark else "I-") + stress)
    words.append(([re.sub(r"\d", "", one) for one in phonemes], tags))
print(len(words), "words")
TAGS = sorted({tag for _, tags in words for tag in tags})
K = len(TAGS)
NEVER = -1e4
allowed = torch.zeros(K, K)
start_allowed = torch.zeros(K)
for b, after in enumerate(TAGS):
    if after.startswith("I-"):
        start_allowed[b] = NEVER
        for a, before in enumerate(TAGS):
            if before[1:] != after[1:]:
                allowed[a, b] = NEVER


class Tagger(nn.Module):
    def __init__(self, vocabulary, crf):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 100)
        self.drop = nn.Dropout(0.3)
        self.rnn = nn.LSTM(100, 100, batch_first=True, bidirectional=True)
        self.head = nn.Linear(200, K)
        self.crf = crf
        if crf:
            self.start = nn.Parameter(torch.empty(K).uniform_(-0.1, 0.1))
            self.end = nn.Parameter(torch.empty(K).uniform_(-0.1, 0.1))
            self.between = nn.Parameter(torch.empty(K, K).uniform_(-0.1, 0.1))

    def forward(self, tokens, lengths):
        packed = pack_padded_sequence(
            self.drop(self.embedding(tokens)), lengths, batch_first=True, enforce_sorted=False
        )
        steps, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.head(self.drop(steps))

    def loss(self, scores, tags, lengths):
        if not self.crf:
            return nn.functional.cross_entropy(scores.flatten(0, 1), tags.flatten(), ignore_index=-1)
        batch, steps = tags.shape
        rows = torch.arange(batch)
        safe = tags.clamp(min=0)
        alpha = self.start + scores[:, 0]
        gold = self.start[safe[:, 0]] + scores[rows, 0, safe[:, 0]]
        for t in range(1, steps):
            inside = t < lengths
            further = torch.logsumexp(alpha.unsqueeze(2) + self.between, 1) + scores[:, t]
            alpha = torch.where(inside.unsqueeze(1), further, alpha)
            step = self.between[safe[:, t - 1], safe[:, t]] + scores[rows, t, safe[:, t]]
            gold = gold + torch.where(inside, step, 0)
        gold = gold + self.end[safe[rows, lengths - 1]]
        return (torch.logsumexp(alpha + self.end, 1) - gold).sum() / lengths.sum()

    def decode(self, scores, lengths):
        start, end, between = start_allowed, torch.zeros(K), allowed
        if self.crf:
            start, end, between = start + self.start, end + self.end, between + self.between
        best = start + scores[:, 0]
        back, ends = [], [best + end]
        for t in range(1, scores.shape[1]):
            most, which = (best.unsqueeze(2) + between).max(1)
            best = most + scores[:, t]
            back.append(which.tolist())
            ends.append(best + end)
        ends = [one.argmax(1).tolist() for one in ends]
        said = []
        for n, length in enumerate(lengths.tolist()):
            way = [ends[length - 1][n]]
            for t in range(length - 2, -1, -1):
                way.append(back[t][n][way[-1]])
            said.append([TAGS[k] for k in reversed(way)])
        return said


def spans(tags):
    found, at = set(), None
    for t, tag in enumerate([*tags, "O"]):
        if at is not None and (tag[0] != "I" or tag[2:] != at[1]):
            found.add((at[0], t, at[1]))
            at = None
        if tag != "O" and at is None:
            at = (t, tag[2:])
    return found


for crf in kinds:
    sums = [0.0, 0.0, 0.0]
    for seed in range(1, seeds + 1):
        state, order = seed, []
        for i in range(len(words)):
            state = (state * 1664525 + 1013904223) % 2**32
            order.append((state, i))
        chosen = [words[i] for _, i in sorted(order)[:10000]]
        train, test = chosen[:8000], chosen[8000:]
        torch.manual_seed(seed)
        before = time.process_time()
        index = {token: i + 1 for i, token in enumerate(sorted({one for x, _ in train for one in x}))}
        tag_index = {tag: i for i, tag in enumerate(TAGS)}
        read = [
            (torch.tensor([index.get(one, 0) for one in x]), torch.tensor([tag_index[y] for y in tags]))
            for x, tags in chosen
        ]
        model = Tagger(len(index) + 1, crf)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.002)
        for _ in range(6):
            model.train()
            mixed = torch.randperm(len(train)).tolist()
            batches = []
            for at in range(0, len(mixed), 1600):
                pool = sorted(mixed[at : at + 1600], key=lambda i: len(read[i][0]))
                batches += [pool[k : k + 32] for k in range(0, len(pool), 32)]
            for b in torch.randperm(len(batches)).tolist():
                lengths = torch.tensor([len(read[i][0]) for i in batches[b]])
                tokens = pad_sequence([read[i][0] for i in batches[b]], batch_first=True)
                tags = pad_sequence([read[i][1] for i in batches[b]], batch_first=True, padding_value=-1)
                optimizer.zero_grad()
                model.loss(model(tokens, lengths), tags, lengths).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1)
                optimizer.step()
        model.eval()
        right = count = hit = told = there = 0
        with torch.no_grad():
            for at in range(0, len(test), 64):
                part = read[8000 + at : 8000 + at + 64]
                lengths = torch.tensor([len(x) for x, _ in part])
                tokens = pad_sequence([x for x, _ in part], batch_first=True)
                for said, (_, tags) in zip(model.decode(model(tokens, lengths), lengths), test[at:]):
                    right += sum(a == b for a, b in zip(said, tags))
                    count += len(tags)
                    a, b = spans(said), spans(tags)
                    hit, told, there = hit + len(a & b), told + len(a), there + len(b)
        seconds = time.process_time() - before
        scores = [right / count, 2 * hit / (told + there), seconds]
        sums = [a + b / seeds for a, b in zip(sums, scores)]
        print("crf %s, seed %d: accuracy %.4f, span F1 %.4f, %.1f s" % (crf, seed, *scores), flush=True)
    print("crf %s, mean: accuracy %.4f, span F1 %.4f, %.1f s" % (crf, *sums), flush=True)
