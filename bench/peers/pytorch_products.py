"""PyTorch's rate of matrix products, for the limit of the machine (ts/bench/limit.ts)."""
import time

from serve import missing, serve

try:
    import torch
except ImportError:
    missing('torch')
from pytorch_device import PRECISION, ON_GPU, choose_device, wait

BURST = 0.02


def set_up(_, threads, __):
    torch.set_num_threads(threads)
    choose_device()
    # On a processor that only emulates bfloat16, float32 is faster.
    fast = ON_GPU or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    dtype = torch.bfloat16 if PRECISION == 'bf16' and fast else torch.float32

    def product(request):
        m, k, n = request['sizes']
        a, b, c = (torch.rand(size, dtype=dtype) for size in ((m, k), (k, n), (m, n)))

        def burst(count):
            begin = time.perf_counter()
            for _ in range(count):
                torch.mm(a, b, out=c)
            wait()
            return (time.perf_counter() - begin) / count

        burst(1)
        count = max(1, round(BURST / burst(2)))
        best, end = burst(count), time.perf_counter() + request['seconds']
        while time.perf_counter() < end:
            best = min(best, burst(count))
        return {'gflops': 2e-9 * m * k * n / best}

    return torch.get_num_threads(), {'product': product}


serve(f'PyTorch {torch.__version__}', set_up)
