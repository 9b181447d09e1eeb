"""PyTorch's side of bench/quantization.ts: for each line of JSON, seconds of a layer's call at batch 1.

  {"time": {"cell": "lstm", "hidden": 512, "steps": 1, "int8": true, "threads": 2, "seconds": 0.2}}
"""
import json
import sys
import time
import warnings

import torch
from torch import nn

warnings.simplefilter('ignore')
layers = {}
print(json.dumps({'ready': f'PyTorch {torch.__version__}'}), flush=True)


def layer_of(cell, hidden, int8):
    for key in [key for key in layers if key[:2] != (cell, hidden)]:
        del layers[key]
    key = (cell, hidden, int8)
    if key not in layers:
        if cell == 'linear':
            layer = nn.Linear(hidden, hidden)
        else:
            layer = (nn.LSTM if cell == 'lstm' else nn.GRU)(hidden, hidden)
        layer.eval()
        if int8:
            layer = torch.ao.quantization.quantize_dynamic(nn.ModuleDict({'layer': layer}))['layer']
        layers[key] = layer
    return layers[key]


for line in sys.stdin:
    job = json.loads(line)['time']
    torch.set_num_threads(job['threads'])
    layer = layer_of(job['cell'], job['hidden'], job['int8'])
    x = torch.randn(job['steps'], 1, job['hidden'])
    with torch.inference_mode():
        state, calls = None, -2  # those that come first warm up
        while True:
            if calls == 0:
                start = time.perf_counter()
            if job['cell'] == 'linear':
                layer(x)
            else:
                _, state = layer(x, state)
            calls += 1
            if calls > 0 and time.perf_counter() - start > job['seconds']:
                break
    print(json.dumps({'seconds': (time.perf_counter() - start) / calls}), flush=True)
