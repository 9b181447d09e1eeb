/** Our side of `--list ops`; bench/peers/protocol.md says what a peer is. */
import {
  arange,
  cat,
  einsum,
  manualSeed,
  nn,
  noGrad,
  optim,
  rand,
  randint,
  randn,
  setNumThreads,
  synchronize,
  Tensor,
  tensor,
  where,
} from 'fused-rnn'
import { seconds, serve, version } from '#bench/peers/serve.js'
import { isStep, type Operation, type OperationName } from '../operations.js'

type Call = () => Tensor | Promise<unknown>

/** Look-ups in a large table, backward, and the step. */
function embeddingStep(
  Class: typeof optim.SGD | typeof optim.Adagrad | typeof optim.SparseAdam,
  sparse: boolean,
): Call {
  let step: Call | null = null
  const make = (): Call => {
    const layer = new nn.Embedding(1_000_000, 32, { sparse })
    const optimizer = new Class(layer.parameters(), { lr: 0.01 })
    const index = randint(0, 1_000_000, [64, 32])
    const gradient = randn([64, 32, 32])
    return () => {
      optimizer.zeroGrad()
      layer.forward(index).backward(gradient)
      return optimizer.step()
    }
  }
  return () => {
    step ??= make()
    return step()
  }
}

/** The operation's calls, one for each name in operations.ts. */
function calls(n: number, x: Tensor): Record<OperationName, Call> {
  const y = randn([n, n])
  const row = randn([n])
  const column = randn([n, 1])
  const mask = y.gt(0)
  const index = tensor(Int32Array.from({ length: n }, (_, i) => (i * 7919 + 13) % n))
  const places = randint(0, n, [n, n])
  const positive = rand([n, n])
  return {
    add: () => x.add(y),
    'add row': () => x.add(row),
    'add column': () => x.add(column),
    'mul number': () => x.mul(1.5),
    pow: () => x.pow(2.5),
    exp: () => x.exp(),
    tanh: () => x.tanh(),
    sigmoid: () => x.sigmoid(),
    sin: () => x.sin(),
    tan: () => x.tan(),
    erf: () => x.erf(),
    log1p: () => x.log1p(),
    expm1: () => x.expm1(),
    round: () => x.round(),
    gelu: () => nn.functional.gelu(x),
    silu: () => nn.functional.silu(x),
    softplus: () => nn.functional.softplus(x),
    maximum: () => x.maximum(y),
    lt: () => x.lt(y),
    where: () => where(mask, x, y),
    maskedFill: () => x.maskedFill(mask, -1),
    sum: () => x.sum(),
    'sum rows': () => x.sum(-1),
    'sum columns': () => x.sum(0),
    mean: () => x.mean(),
    'max rows': () => {
      const [values, indices] = x.max(-1)
      indices[Symbol.dispose]()
      return values
    },
    'argmax rows': () => x.argmax(-1),
    'argmax columns': () => x.argmax(0),
    'softmax rows': () => x.softmax(-1),
    'softmax columns': () => x.softmax(0),
    'logSoftmax rows': () => x.logSoftmax(-1),
    matvec: () => x.matmul(row),
    transpose: () => x.t(),
    'flip rows': () => x.flip(-1),
    'flip columns': () => x.flip(0),
    'slice rows': () => x.slice(1, 1, n - 3),
    'cat rows': () => cat([x, y], 1),
    'indexSelect 0': () => x.indexSelect(0, index),
    'indexSelect 1': () => x.indexSelect(1, index),
    'gather 1': () => x.gather(1, places),
    'scatterAdd 1': () => x.scatterAdd(1, places, y),
    'amax rows': () => x.amax(-1),
    'amax columns': () => x.amax(0),
    'min columns': () => {
      const [values, indices] = x.min(0)
      indices[Symbol.dispose]()
      return values
    },
    'var rows': () => x.var(-1),
    'var columns': () => x.var(0),
    norm: () => x.norm(),
    'logsumexp rows': () => x.logsumexp(-1),
    'prod rows': () => x.prod(-1),
    'cumsum rows': () => x.cumsum(-1),
    'cumsum columns': () => x.cumsum(0),
    'sort rows': () => {
      const [values, indices] = x.sort(-1)
      indices[Symbol.dispose]()
      return values
    },
    'argsort columns': () => x.argsort(0),
    'topk rows': () => {
      const [values, indices] = x.topk(8)
      indices[Symbol.dispose]()
      return values
    },
    tril: () => x.tril(),
    roll: () => x.roll([3, 5], [0, 1]),
    repeat: () => x.repeat([1, 2]),
    'chunk columns': () => {
      const [first, ...rest] = x.chunk(32, 1)
      for (const part of rest) part[Symbol.dispose]()
      return first as Tensor
    },
    einsum: () => einsum('bi,bi->b', x, y),
    'at index pairs': () => x.at(index, index),
    arange: () => arange(n * n),
    randint: () => randint(0, 100, [n, n]),
    multinomial: () => positive.multinomial(8, { replacement: true }),
    clone: () => x.clone(),
    data: () => x.data(),
    rand: () => rand([n, n]),
    randn: () => randn([n, n]),
    'embedding step, SGD': embeddingStep(optim.SGD, true),
    'embedding step, SGD, dense': embeddingStep(optim.SGD, false),
    'embedding step, Adagrad': embeddingStep(optim.Adagrad, true),
    'embedding step, SparseAdam': embeddingStep(optim.SparseAdam, true),
  }
}

await serve(`fused-rnn ${version('fused-rnn')}`, async (w, threads) => {
  const { name, size, backward } = w as unknown as Operation
  setNumThreads(threads)
  manualSeed(0)
  const x = name === 'pow' || name === 'log1p' ? rand([size, size]) : randn([size, size])
  x.requiresGrad = backward
  const call = calls(size, x)[name]
  const first = await call()
  const gradient = first instanceof Tensor && backward ? randn(first.shape) : null
  await synchronize()
  const once = async (): Promise<void> => {
    const y = call()
    if (!(y instanceof Tensor)) return void (await y)
    if (gradient === null) return y[Symbol.dispose]()
    y.backward(gradient)
    y[Symbol.dispose]()
    x.grad?.[Symbol.dispose]()
    x.grad = null
  }
  return {
    threads,
    call: (count: number) =>
      seconds(async () => {
        for (let i = 0; i < count; i++) {
          const waits = name === 'data' || isStep(name)
          const y = backward || waits ? once() : noGrad(() => void once())
          if (waits) await y
        }
        await synchronize()
      }),
  }
})
