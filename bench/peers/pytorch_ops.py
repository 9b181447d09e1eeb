"""PyTorch's side of `--list ops`; bench/peers/protocol.md says what a peer is."""
import time

from serve import missing, serve

try:
    import torch
except ImportError:
    missing('torch')


def embedding_step(make, sparse):
    """Look-ups in a large table, backward, and the step."""
    made = []

    def step():
        if not made:
            layer = torch.nn.Embedding(1_000_000, 32, sparse=sparse)
            made.extend([layer, make(layer.parameters(), lr=0.01)])
            made.extend([torch.randint(0, 1_000_000, (64, 32)), torch.randn(64, 32, 32)])
        layer, optimizer, index, gradient = made
        with torch.enable_grad():
            optimizer.zero_grad()
            layer(index).backward(gradient)
            optimizer.step()

    return step


def calls(n, x):
    """The operation's calls, one for each name in operations.ts. Views are copied, as ours are."""
    y, row, column = torch.randn(n, n), torch.randn(n), torch.randn(n, 1)
    index = torch.tensor([(i * 7919 + 13) % n for i in range(n)], dtype=torch.int32)
    places, positive = torch.randint(0, n, (n, n)), torch.rand(n, n)
    mask = y > 0
    return {
        'add': lambda: x.add(y),
        'add row': lambda: x.add(row),
        'add column': lambda: x.add(column),
        'mul number': lambda: x.mul(1.5),
        'pow': lambda: x.pow(2.5),
        'exp': lambda: x.exp(),
        'tanh': lambda: x.tanh(),
        'sigmoid': lambda: x.sigmoid(),
        'sin': lambda: x.sin(),
        'tan': lambda: x.tan(),
        'erf': lambda: x.erf(),
        'log1p': lambda: x.log1p(),
        'expm1': lambda: x.expm1(),
        'round': lambda: x.round(),
        'gelu': lambda: torch.nn.functional.gelu(x),
        'silu': lambda: torch.nn.functional.silu(x),
        'softplus': lambda: torch.nn.functional.softplus(x),
        'maximum': lambda: torch.maximum(x, y),
        'lt': lambda: x.lt(y),
        'where': lambda: torch.where(mask, x, y),
        'maskedFill': lambda: x.masked_fill(mask, -1.0),
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
        'gather 1': lambda: x.gather(1, places),
        'scatterAdd 1': lambda: x.scatter_add(1, places, y),
        'amax rows': lambda: x.amax(-1),
        'amax columns': lambda: x.amax(0),
        'min columns': lambda: x.min(0)[0],
        'var rows': lambda: x.var(-1),
        'var columns': lambda: x.var(0),
        'norm': lambda: x.norm(),
        'logsumexp rows': lambda: x.logsumexp(-1),
        'prod rows': lambda: x.prod(-1),
        'cumsum rows': lambda: x.cumsum(-1),
        'cumsum columns': lambda: x.cumsum(0),
        'sort rows': lambda: x.sort(-1)[0],
        'argsort columns': lambda: x.argsort(0),
        'topk rows': lambda: x.topk(8)[0],
        'tril': lambda: x.tril(),
        'roll': lambda: x.roll((3, 5), (0, 1)),
        'repeat': lambda: x.repeat(1, 2),
        'chunk columns': lambda: [part.contiguous() for part in x.chunk(32, 1)][0],
        'einsum': lambda: torch.einsum('bi,bi->b', x, y),
        'at index pairs': lambda: x[index, index],
        'arange': lambda: torch.arange(n * n),
        'randint': lambda: torch.randint(0, 100, (n, n)),
        'multinomial': lambda: positive.multinomial(8, replacement=True),
        'clone': lambda: x.clone(),
        'data': lambda: x.numpy().copy(),
        'rand': lambda: torch.rand(n, n),
        'randn': lambda: torch.randn(n, n),
        'embedding step, SGD': embedding_step(torch.optim.SGD, True),
        'embedding step, SGD, dense': embedding_step(torch.optim.SGD, False),
        'embedding step, Adagrad': embedding_step(torch.optim.Adagrad, True),
        'embedding step, SparseAdam': embedding_step(torch.optim.SparseAdam, True),
    }


def set_up(w, threads, mode):
    name, n, backward = w['name'], w['size'], w['backward']
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x = torch.rand(n, n) if name in ('pow', 'log1p') else torch.randn(n, n)
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
