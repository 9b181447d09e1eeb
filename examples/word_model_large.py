"""word-model-large.ts in PyTorch, with the same settings, to compare perplexities epoch by epoch.

python examples/word_model_large.py FOLDER [EPOCHS]: a folder with ptb.train.txt and ptb.valid.txt.
"""

import math
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from torch import nn

WIDTH, LAYERS, DROPOUT, BATCH, STEPS, CLIP = 650, 2, 0.5, 20, 35, 0.25


class Model(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.drop = nn.Dropout(DROPOUT)
        self.encoder = nn.Embedding(vocabulary, WIDTH)
        self.rnn = nn.LSTM(WIDTH, WIDTH, LAYERS, dropout=DROPOUT)
        self.decoder = nn.Linear(WIDTH, vocabulary)
        self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, tokens, state):
        output, state = self.rnn(self.drop(self.encoder(tokens)), state)
        return self.decoder(self.drop(output)).flatten(0, 1), state


def words(path):
    return path.read_text(encoding="utf8").replace("\n", " <eos> ").split()


def run(model, tokens, step):
    """Mean cross entropy of consecutive windows; `step` does what there is to do with each loss."""
    rows = tokens[: len(tokens) // BATCH * BATCH].view(BATCH, -1).t().contiguous()
    state, total, count = None, 0.0, 0
    for start in range(0, len(rows) - 1, STEPS):
        length = min(STEPS, len(rows) - 1 - start)
        if state is not None:
            state = tuple(part.detach() for part in state)
        logits, state = model(rows[start : start + length], state)
        loss = nn.functional.cross_entropy(logits, rows[start + 1 : start + 1 + length].flatten())
        step(loss)
        total += loss.item() * length
        count += length
    return total / count


def main(folder, epochs):
    torch.manual_seed(1)
    train, valid = (words(Path(folder) / f"ptb.{part}.txt") for part in ("train", "valid"))
    index = {word: i for i, (word, _) in enumerate(Counter(train).most_common())}
    train, valid = (torch.tensor([index[word] for word in part]) for part in (train, valid))
    model = Model(len(index))
    optimizer = torch.optim.SGD(model.parameters(), lr=20)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.25, patience=0)

    def learn(loss):
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()

    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        model.train()
        trained = run(model, train, learn)
        model.eval()
        with torch.no_grad():
            validated = run(model, valid, lambda loss: None)
        scheduler.step(validated)
        print(
            f"epoch {epoch}: perplexity {math.exp(trained):.1f}, valid {math.exp(validated):.1f},"
            f" {len(train) / (time.perf_counter() - start):.0f} tokens/s",
            flush=True,
        )


main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40)
