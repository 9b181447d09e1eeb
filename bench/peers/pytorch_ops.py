"""PyTorch's side of `--list ops`; bench/peers/protocol.md says what a peer is."""
import time

from serve import missing, serve

try:
    import torch
except ImportError:
    missing('torch')


def calls(n, x):
    """The operation's calls, one for each name in operations.ts. Views are copied, as ours are."""
    y, row, column = torch.randn(n, n), torch.randn(n), torch.randn(n, 1)
    index = torch.tensor([(i * 7919 + 13) % n for i in range(n)], dtype=torch.int32)
    return {
        'add': lambda: x.add(y),
        'add row': lambda: x.add(row),
        'add column': lambda: x.add(column),
        'mul number': lambda: x.mul(1.5),
        'pow': lambda: x.pow(2.5),
        'exp': lambda: x.exp(),
        'tanh': lambda: x.tanh(),
        'sigmoid': lambda: x.sigmoid(),
        'sum': lambda: x.sum(),
        'sum rows': lambda: x.sum(-1),
        'sum columns': lambda: x.sum(0),
        'mean': lambda: x.mean(),
        'max rows': lambda: x.max(-1)[0],
        'argmax rows': lambda: x.argmax(-1),
        'argmax columns': lambda: x.argmax(0),
        'softmax rows': lambda: x.softmax(-1),
        'softmax columns': lambda: x.softmax(0),
        'logSoftmax rows': lambda: x.log_softmax(-1),
        'matvec': lambda: x.matmul(row),
        'transpose': lambda: x.t().contiguous(),
        'flip rows': lambda: x.flip(-1),
        'flip columns': lambda: x.flip(0),
        'slice rows': lambda: x[:, 1:n - 3].contiguous(),
        'cat rows': lambda: torch.cat([x, y], 1),
        'indexSelect 0': lambda: x.index_select(0, index),
        'indexSelect 1': lambda: x.index_select(1, index),
        'clone': lambda: x.clone(),
        'data': lambda: x.numpy().copy(),
        'rand': lambda: torch.rand(n, n),
        'randn': lambda: torch.randn(n, n),
    }


def set_up(w, threads, mode):
    name, n, backward = w['name'], w['size'], w['backward']
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x = torch.rand(n, n) if name == 'pow' else torch.randn(n, n)
    x.requires_grad_(backward)
    call = calls(n, x)[name]
    gradient = torch.randn_like(call()) if backward else None

    def many(count):
        begin = time.perf_counter()
        if backward:
            for _ in range(count):
                call().backward(gradient)
                x.grad = None
        else:
            with torch.no_grad():
                for _ in range(count):
                    call()
        return {'seconds': time.perf_counter() - begin}

    return torch.get_num_threads(), {'call': many}


serve(f'PyTorch {torch.__version__}', set_up)
