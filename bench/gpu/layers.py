"""PyTorch's side of layers.ts: µs per time step, and of its kernels alone, as its profiler counts."""
import json
import os
import time
from pathlib import Path

import torch

exact = os.environ.get('PRECISION') == 'ieee'
torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not exact
CALLS = 10


def median(call):
    for _ in range(5):
        call()
    rounds = []
    for _ in range(5):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(CALLS):
            call()
        torch.cuda.synchronize()
        rounds.append((time.perf_counter() - begin) / CALLS * 1e6)
    return sorted(rounds)[2]


def kernels(call):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(3):
            call()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profile.key_averages()) / 3


for cell, hidden, batch, steps, layers, both in json.loads(Path(__file__).with_suffix('.json').read_text()):
    rnn = getattr(torch.nn, cell)(hidden, hidden, num_layers=layers, bidirectional=both).cuda()
    x = torch.randn(steps, batch, hidden, device='cuda')
    gradient = torch.randn(steps, batch, hidden * (2 if both else 1), device='cuda')

    def forward():
        with torch.no_grad():
            rnn(x)

    def passes():
        rnn.zero_grad()
        rnn(x)[0].backward(gradient)

    print(f'{cell} {hidden}, batch {batch}, {steps} steps, {layers} layer(s){", both directions" if both else ""}: '
          f'forward {median(forward) / steps:.2f}, both passes {median(passes) / steps:.2f}, '
          f'kernels {kernels(passes) / steps:.2f}', flush=True)
