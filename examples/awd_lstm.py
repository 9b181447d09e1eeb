"""awd-lstm.ts in PyTorch, with the same settings, to compare perplexities epoch by epoch.

python examples/awd_lstm.py FOLDER [--epochs 1 --width 1150 …]: a folder with ptb.train.txt and
ptb.valid.txt. The options are those of awd-lstm.ts.
"""

import argparse
import math
import random
import time
from collections import Counter
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

EMBEDDING_DROP, INPUT_DROP, HIDDEN_DROP, OUTPUT_DROP, WEIGHT_DROP = 0.1, 0.4, 0.25, 0.4, 0.5
ALPHA, BETA, CLIP, BATCH = 2, 1, 0.25, 20


def locked(x, p):
    return x * functional.dropout(torch.ones(1, *x.shape[1:]), p)


class Model(nn.Module):
    def __init__(self, words, embedding, width, layers):
        super().__init__()
        sizes = [embedding] + [width] * (layers - 1) + [embedding]
        self.encoder = nn.Embedding(words, embedding)
        self.rnns = nn.ModuleList(nn.LSTM(*pair) for pair in zip(sizes, sizes[1:]))
        self.decoder = nn.Linear(embedding, words)
        self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, tokens, states):
        x = self.encoder(tokens)
        if self.training:
            kept = functional.dropout(torch.ones(self.encoder.num_embeddings, 1), EMBEDDING_DROP)
            x = x * functional.embedding(tokens, kept)
        after = []
        for i, rnn in enumerate(self.rnns):
            w_ih, w_hh, b_ih, b_hh = rnn.parameters()
            if self.training:
                x = locked(x, HIDDEN_DROP if i else INPUT_DROP)
                w_hh = functional.dropout(w_hh, WEIGHT_DROP)
            zeros = torch.zeros(1, tokens.shape[1], rnn.hidden_size)
            state = states[i] if states else (zeros, zeros)
            x, h, c = torch.lstm(
                x, state, (w_ih, w_hh, b_ih, b_hh), True, 1, 0.0, self.training, False, False
            )
            after.append((h.detach(), c.detach()))
        dropped = locked(x, OUTPUT_DROP) if self.training else x
        return self.decoder(dropped.flatten(0, 1)), x, dropped, after


def words(path):
    return path.read_text(encoding="utf8").replace("\n", " <eos> ").split()


def rows(tokens, batch):
    return tokens[: len(tokens) // batch * batch].view(batch, -1).t().contiguous()


def main(given):
    torch.manual_seed(given.seed)
    random.seed(given.seed)
    train, valid = (words(Path(given.data) / f"ptb.{part}.txt") for part in ("train", "valid"))
    index = {word: i for i, (word, _) in enumerate(Counter(train).most_common())}
    train, valid = (torch.tensor([index[word] for word in part]) for part in (train, valid))
    train, valid = rows(train, BATCH), rows(valid, 10)
    model = Model(len(index), given.embedding, given.width, given.layers)
    # ASGD is plain SGD until its step t0.
    optimizer = torch.optim.ASGD(
        model.parameters(), lr=given.lr, lambd=0, t0=2**53 - 1, weight_decay=1.2e-6
    )
    group, averaging, perplexities, step = optimizer.param_groups[0], False, [], 0

    def learn():
        nonlocal step
        states, start, total, count, batch = None, 0, 0.0, 0, 0
        while start < len(train) - 2 and batch != given.batches:
            mean = given.bptt if random.random() < 0.95 else given.bptt / 2
            length = min(max(5, int(random.gauss(mean, 5))), len(train) - 1 - start)
            logits, output, dropped, states = model(train[start : start + length], states)
            target = train[start + 1 : start + 1 + length]
            loss = functional.cross_entropy(logits, target.flatten())
            changes = output[1:] - output[:-1]
            penalty = ALPHA * dropped.square().mean() + BETA * changes.square().mean()
            group["lr"] = given.lr * length / given.bptt
            optimizer.zero_grad()
            (loss + penalty).backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            total, count, start = total + loss.item() * length, count + length, start + length
            batch, step = batch + 1, step + 1
        return math.exp(total / count), count * BATCH

    @torch.no_grad()
    def validate():
        states, total, last = None, 0.0, len(valid) - 1
        trained = [weight.clone() for weight in model.parameters()]
        if averaging:
            for weight in model.parameters():
                weight.copy_(optimizer.state[weight]["ax"])
        for start in range(0, last, given.bptt):
            end = min(start + given.bptt, last)
            logits, _, _, states = model(valid[start:end], states)
            target = valid[start + 1 : end + 1].flatten()
            total += functional.cross_entropy(logits, target).item() * (end - start)
        for weight, before in zip(model.parameters(), trained):
            weight.copy_(before)
        return math.exp(total / last)

    for epoch in range(1, given.epochs + 1):
        start = time.perf_counter()
        model.train()
        perplexity, tokens = learn()
        speed = tokens / (time.perf_counter() - start)
        model.eval()
        validated = validate()
        long_ago = perplexities[: -given.patience]
        if not averaging and long_ago and validated > min(long_ago):
            averaging, group["t0"] = True, step
        perplexities.append(validated)
        print(
            f"epoch {epoch}: perplexity {perplexity:.1f}, valid {validated:.1f},"
            f" {speed:.0f} tokens/s{', averaging' if averaging else ''}",
            flush=True,
        )


parser = argparse.ArgumentParser()
parser.add_argument("data")
for name, default in {
    "epochs": 500, "seed": 1, "width": 1150, "embedding": 400, "layers": 3, "bptt": 70,
    "patience": 5, "batches": -1,
}.items():  # fmt: skip
    parser.add_argument(f"--{name}", type=int, default=default)
parser.add_argument("--lr", type=float, default=30)
main(parser.parse_args())
