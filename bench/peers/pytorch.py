"""PyTorch's side of the benchmark; bench/peers/protocol.md says what a peer is."""
import time

from serve import missing, serve

try:
    import torch
except ImportError:
    missing('torch')
from pytorch_device import choose_device, name, precision, wait
from pytorch_models import Task

LEARNING_RATE, MAX_NORM = 0.1, 1.0


def set_up(w, threads, mode):
    """mode 'lookup': one-hot input is an embedding as wide as the layer instead of a product."""
    torch.set_num_threads(threads)
    choose_device()
    torch.manual_seed(0)
    task = Task(w, lookup=mode == 'lookup')
    model = task.model
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)

    def train(steps):
        model.train()
        begin = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad()
            value = task.backward(precision())
            if w['kind'] != 'layer':
                torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
                optimizer.step()
        wait()
        seconds = time.perf_counter() - begin
        return {'seconds': seconds} if w['kind'] == 'layer' else \
            {'seconds': seconds, 'loss': value.item()}

    @torch.inference_mode()
    def infer(batches):
        model.eval()
        begin = time.perf_counter()
        with precision():
            for _ in range(batches):
                task.forward()
                wait()
        return {'seconds': time.perf_counter() - begin}

    @torch.inference_mode()
    def generate(tokens):
        model.eval()
        with precision():
            return {'microseconds': task.generate(tokens)}

    requests = {'train': train, 'infer': infer}
    if task.can_step:
        requests['generate'] = generate
    return torch.get_num_threads(), requests


serve(f'PyTorch {torch.__version__}{name()}', set_up)
