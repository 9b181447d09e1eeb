"""Where PyTorch's side of the benchmark computes: what the runner's --device and --precision say."""
import contextlib
import os
import sys

import torch

DEVICE = os.environ.get('FUSED_RNN_BENCH_DEVICE', 'cpu')
PRECISION = os.environ.get('FUSED_RNN_BENCH_PRECISION', 'tf32')
ON_GPU = DEVICE != 'cpu'


def choose_device():
    torch.set_default_device(DEVICE)
    torch.backends.cuda.matmul.allow_tf32 = PRECISION != 'ieee'
    torch.backends.cudnn.allow_tf32 = PRECISION != 'ieee'


def precision():
    """What forward passes run in: bf16 is autocast, with float32 weights, as users have it."""
    if ON_GPU and PRECISION == 'bf16':
        return torch.autocast('cuda', dtype=torch.bfloat16)
    if not ON_GPU and sys.argv[3:] == ['autocast']:
        return torch.autocast('cpu', dtype=torch.bfloat16)
    return contextlib.nullcontext()


def wait():
    """Until what has been queued is done."""
    if ON_GPU:
        torch.cuda.synchronize()


def name():
    return f', {torch.cuda.get_device_name(DEVICE)}' if ON_GPU else ''
