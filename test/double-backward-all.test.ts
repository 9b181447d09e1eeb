/** Gradients of gradients of every operation: none is left out, and each agrees with finite differences. */
import test from 'ava'
import * as library from 'fused-rnn'
import {
  autograd,
  cat,
  einsum,
  manualSeed,
  nn,
  ones,
  stack,
  Tensor,
  tensor,
  where,
} from 'fused-rnn'
import { closeTo, emulated, fixture, gradgradcheck, randomTensor } from './helpers.js'

const F = nn.functional

/** A leaf. */
const leaf = (values: Tensor): Tensor => {
  const out = values.detach()
  out.requiresGrad = true
  return out
}
const x = (...shape: number[]): Tensor => randomTensor(shape, 3, { requiresGrad: true })
const w = (...shape: number[]): Tensor => randomTensor(shape, 4, { requiresGrad: true })
const positive = (...shape: number[]): Tensor => leaf(randomTensor(shape, 5).abs().add(0.5))
const inner = (...shape: number[]): Tensor => leaf(randomTensor(shape, 6).mul(0.7))
/** Apart from each other and from whole numbers, in disorder. */
const apart = (...shape: number[]): Tensor => {
  const n = shape.reduce((a, b) => a * b, 1)
  const values = Array.from({ length: n }, (_, i) => ((i * 7) % n) - n / 2 + 0.3)
  return tensor(Float32Array.from(values), { shape, requiresGrad: true })
}
const int = (values: number[] | number[][]): Tensor => tensor(values, { dtype: 'int32' })
const mask = (): Tensor =>
  tensor([
    [true, false, true],
    [false, false, true],
  ])

type Case = [f: (...inputs: Tensor[]) => Tensor | Tensor[], inputs: () => Tensor[]]
const on =
  (f: (x: Tensor) => Tensor | Tensor[], input = () => x(2, 3)): Case =>
  [f as Case[0], () => [input()]] // biome-ignore format: one case a line below
const onTwo = (
  f: (a: Tensor, b: Tensor) => Tensor | Tensor[],
  a = () => x(2, 3),
  b = () => w(3),
): Case => [f as Case[0], () => [a(), b()]]
/** What is linear gets a square around it. */
const sq = (y: Tensor): Tensor => y.mul(y)

/** By the names of methods and functions. */
const METHODS: Record<string, Case> = {
  clone: on((a) => sq(a.clone())),
  to: on((a) => sq(a.to(a.device))),
  float: on((a) => sq(a.float())),
  at: on((a) => sq(a.at('0:1', int([2, 0, 2])))),
  slice: on((a) => sq(a.slice(1, 0, 3, 2))),
  select: on((a) => sq(a.select(1, 1))),
  narrow: on((a) => sq(a.narrow(1, 1, 2))),
  split: on((a) => a.split(2, 1).map(sq)),
  chunk: on((a) => a.chunk(2, 1).map(sq)),
  unbind: on((a) => a.unbind(1).map(sq)),
  diagonal: on((a) => sq(a.diagonal())),
  diag: on(
    (a) => sq(a.diag()),
    () => x(3),
  ),
  tril: on((a) => sq(a.tril())),
  triu: on((a) => sq(a.triu())),
  indexSelect: on((a) => sq(a.indexSelect(1, int([2, 2, 0])))),
  gather: on((a) =>
    sq(
      a.gather(
        1,
        int([
          [0, 0],
          [2, 1],
        ]),
      ),
    ),
  ),
  scatter: onTwo(
    (a, b) => sq(a.scatter(1, int([[0], [2]]), b)),
    undefined,
    () => w(2, 1),
  ),
  scatterAdd: onTwo(
    (a, b) =>
      sq(
        a.scatterAdd(
          1,
          int([
            [0, 0],
            [2, 2],
          ]),
          b,
        ),
      ),
    undefined,
    () => w(2, 2),
  ),
  indexAdd: onTwo(
    (a, b) => sq(a.indexAdd(1, int([1, 1]), b, { alpha: 2 })),
    undefined,
    () => w(2, 2),
  ),
  indexCopy: onTwo(
    (a, b) => sq(a.indexCopy(1, int([1, 0]), b)),
    undefined,
    () => w(2, 2),
  ),
  indexFill: on((a) => sq(a.indexFill(1, int([1]), 2))),
  sort: on(
    (a) => sq(a.sort(1)[0]),
    () => apart(2, 3),
  ),
  topk: on(
    (a) => sq(a.topk(2)[0]),
    () => apart(2, 3),
  ),
  reshape: on((a) => sq(a.reshape([3, 2]))),
  unsqueeze: on((a) => sq(a.unsqueeze(1))),
  squeeze: on(
    (a) => sq(a.squeeze(0)),
    () => x(1, 3),
  ),
  expand: on(
    (a) => sq(a.expand([2, 3])),
    () => x(1, 3),
  ),
  transpose: on((a) => sq(a.transpose(0, 1))),
  permute: on((a) => sq(a.permute([1, 0]))),
  t: on((a) => sq(a.t())),
  flip: on((a) => sq(a.flip([0, 1]))),
  view: on((a) => sq(a.view([6]))),
  flatten: on((a) => sq(a.flatten())),
  unflatten: on((a) => sq(a.unflatten(1, [3, 1]))),
  movedim: on((a) => sq(a.movedim(0, 1))),
  roll: on((a) => sq(a.roll(1, 1))),
  repeat: on((a) => sq(a.repeat([2, 1]))),
  repeatInterleave: on((a) => sq(a.repeatInterleave(2, 1))),
  matmul: onTwo((a, b) => a.matmul(b)),
  bmm: onTwo(
    (a, b) => a.bmm(b),
    () => x(2, 2, 3),
    () => w(2, 3, 2),
  ),
  baddbmm: [
    (...[a, b, c]) => sq((a as Tensor).baddbmm(b as Tensor, c as Tensor, { alpha: 2, beta: 0.5 })),
    () => [x(2, 2, 2), x(2, 2, 3), w(2, 3, 2)],
  ],
  outer: onTwo(
    (a, b) => a.outer(b),
    () => x(2),
  ),
  dot: onTwo(
    (a, b) => a.dot(b),
    () => x(3),
  ),
  mv: onTwo((a, b) => a.mv(b)),
  sum: on((a) => sq(a.sum(1))),
  mean: on((a) => sq(a.mean([0, 1]))),
  max: on(
    (a) => [sq(a.max(1)[0]), sq(a.max())],
    () => apart(2, 3),
  ),
  min: on(
    (a) => [sq(a.min(1)[0]), sq(a.min())],
    () => apart(2, 3),
  ),
  median: on(
    (a) => [sq(a.median(1)[0]), sq(a.median())],
    () => apart(2, 3),
  ),
  amax: on(
    (a) => sq(a.amax([0, 1])),
    () => apart(2, 3),
  ),
  amin: on(
    (a) => sq(a.amin(0)),
    () => apart(2, 3),
  ),
  var: on((a) => [sq(a.var(1)), a.var(), a.var(0, { correction: 0 })]),
  std: on((a) => [a.std(1), a.std()]),
  prod: on(
    (a) => [a.prod(1), a.prod()],
    () => positive(2, 3),
  ),
  logsumexp: on((a) => [a.logsumexp(1), a.logsumexp([0, 1])]),
  norm: on((a) => [
    a.norm(),
    a.norm({ p: 3, dim: 1 }),
    sq(a.norm({ p: 1 })),
    sq(a.norm({ p: Infinity })),
  ]),
  cumsum: on((a) => sq(a.cumsum(1))),
  cumprod: on(
    (a) => [a.cumprod(1), a.cumprod(0)],
    () => positive(2, 3),
  ),
  softmax: on((a) => a.softmax(1)),
  logSoftmax: on((a) => a.logSoftmax(1)),
  where: onTwo((a, b) => sq(a.where(mask(), b))),
  maskedFill: onTwo((a, b) => [sq(a.maskedFill(mask(), 2)), sq(a.maskedFill(mask(), b.sum()))]),
  add: onTwo((a, b) => sq(a.add(b, { alpha: 2 }))),
  sub: onTwo((a, b) => sq(a.sub(b))),
  mul: onTwo((a, b) => a.mul(b)),
  div: onTwo(
    (a, b) => a.div(b),
    undefined,
    () => positive(3),
  ),
  neg: on((a) => sq(a.neg())),
  abs: on(
    (a) => sq(a.abs()),
    () => apart(2, 3),
  ),
  exp: on((a) => a.exp()),
  log: on(
    (a) => a.log(),
    () => positive(2, 3),
  ),
  sqrt: on(
    (a) => a.sqrt(),
    () => positive(2, 3),
  ),
  pow: [
    (...[a, b]) => [(a as Tensor).pow(b as Tensor), (a as Tensor).pow(3), (a as Tensor).pow(2.5)],
    () => [positive(2, 3), w(3)],
  ],
  clamp: on(
    (a) => sq(a.clamp(-1.5, 1.5)),
    () => apart(2, 3),
  ),
  tanh: on((a) => a.tanh()),
  sigmoid: on((a) => a.sigmoid()),
  relu: on(
    (a) => sq(a.relu()),
    () => apart(2, 3),
  ),
  sign: onTwo(
    (a, b) => a.sign().mul(sq(b)),
    () => apart(2, 3),
  ),
  round: onTwo(
    (a, b) => a.round().mul(sq(b)),
    () => apart(2, 3),
  ),
  floor: onTwo(
    (a, b) => a.floor().mul(sq(b)),
    () => apart(2, 3),
  ),
  ceil: onTwo(
    (a, b) => a.ceil().mul(sq(b)),
    () => apart(2, 3),
  ),
  trunc: onTwo(
    (a, b) => a.trunc().mul(sq(b)),
    () => apart(2, 3),
  ),
  sin: on((a) => a.sin()),
  cos: on((a) => a.cos()),
  tan: on(
    (a) => a.tan(),
    () => inner(2, 3),
  ),
  asin: on(
    (a) => a.asin(),
    () => inner(2, 3),
  ),
  acos: on(
    (a) => a.acos(),
    () => inner(2, 3),
  ),
  atan: on((a) => a.atan()),
  sinh: on((a) => a.sinh()),
  cosh: on((a) => a.cosh()),
  erf: on((a) => a.erf()),
  log1p: on(
    (a) => a.log1p(),
    () => positive(2, 3),
  ),
  expm1: on((a) => a.expm1()),
  log2: on(
    (a) => a.log2(),
    () => positive(2, 3),
  ),
  log10: on(
    (a) => a.log10(),
    () => positive(2, 3),
  ),
  exp2: on((a) => a.exp2()),
  rsqrt: on(
    (a) => a.rsqrt(),
    () => positive(2, 3),
  ),
  reciprocal: on(
    (a) => a.reciprocal(),
    () => positive(2, 3),
  ),
  square: on((a) => a.square()),
  nanToNum: on((a) => sq(a.nanToNum())),
  maximum: onTwo(
    (a, b) => sq(a.maximum(b)),
    () => apart(2, 3),
  ),
  minimum: onTwo(
    (a, b) => sq(a.minimum(b)),
    () => apart(2, 3),
  ),
  fmod: onTwo(
    (a, b) => [sq(a.fmod(b)), sq(a.fmod(1.1))],
    () => apart(2, 3),
    () => positive(3),
  ),
  remainder: onTwo(
    (a, b) => [sq(a.remainder(b)), sq(a.remainder(1.1))],
    () => apart(2, 3),
    () => positive(3),
  ),
  atan2: onTwo(
    (a, b) => a.atan2(b),
    undefined,
    () => positive(3),
  ),
  lerp: [
    (...[a, b, c]) => (a as Tensor).lerp(b as Tensor, c as Tensor),
    () => [x(2, 3), w(3), positive(2, 1)],
  ],
  addcmul: [
    (...[a, b, c]) => sq((a as Tensor).addcmul(b as Tensor, c as Tensor, { value: 2 })),
    () => [x(2, 3), w(3), positive(2, 1)],
  ],
  addcdiv: [
    (...[a, b, c]) => sq((a as Tensor).addcdiv(b as Tensor, c as Tensor, { value: 2 })),
    () => [x(2, 3), w(3), positive(2, 1)],
  ],
}

/** Methods that are no operations, and those whose results have no gradient. */
// Sparse gradients are leaves: under createGraph an embedding gives dense ones.
const WITHOUT = new Set(
  `constructor changed share dropGrad attach viewAs data item backward registerHook retainGrad detach
  moveTo int bool toString toJSON argsort multinomial bernoulli argmax argmin eq ne lt le gt ge
  logicalAnd logicalOr logicalXor logicalNot isnan isinf isfinite any all isCoalesced coalesce
  indices values toDense`.split(/\s+/),
)

const lengths = [4, 3]
const targets = () =>
  int([
    [1, 1],
    [2, 0],
  ]) // prettier-ignore

const FUNCTIONS: Record<string, Case> = {
  adaptiveAvgPool1d: on(
    (a) => sq(F.adaptiveAvgPool1d(a, 2)),
    () => x(1, 2, 5),
  ),
  avgPool1d: on(
    (a) => [
      sq(F.avgPool1d(a, 2)),
      sq(F.avgPool1d(a, 3, { stride: 1, padding: 1, countIncludePad: false })),
      sq(F.avgPool1d(a, 3, { stride: 2, ceilMode: true })),
    ],
    () => x(2, 2, 6),
  ),
  binaryCrossEntropy: onTwo(
    (a, b) => F.binaryCrossEntropy(a, b),
    () => leaf(inner(2, 3).detach().mul(0.5).add(0.5)),
    () => leaf(inner(2, 3).detach().mul(0.4).add(0.5)),
  ),
  binaryCrossEntropyWithLogits: onTwo(
    (a, b) => F.binaryCrossEntropyWithLogits(a, b, { posWeight: tensor([1, 2, 3]) }),
    undefined,
    () => positive(2, 3),
  ),
  conv1d: [
    (...[a, b, c]) => [
      sq(F.conv1d(a as Tensor, b as Tensor, { bias: c as Tensor, stride: 2, padding: 1 })),
      sq(F.conv1d(a as Tensor, b as Tensor, { groups: 1, dilation: 2, padding: 'same' })),
      sq(F.conv1d((a as Tensor).select(0, 1), (b as Tensor).slice(1, 0, 1), { groups: 2 })),
    ],
    () => [x(2, 2, 5), w(4, 2, 3), x(4)],
  ],
  crossEntropy: on((a) => F.crossEntropy(a, int([1, 2]), { labelSmoothing: 0.1 })),
  ctcLoss: on(
    (a) => {
      const p = a.logSoftmax(2)
      const sum = { reduction: 'sum' } as const
      return [
        F.ctcLoss(p, targets(), lengths, [2, 1]),
        F.ctcLoss(p, int([1, 1, 2]), int(lengths), int([2, 1]), sum),
        F.ctcLoss(p, targets(), lengths, [2, 0], { reduction: 'none' }),
        F.ctcLoss(p, targets(), [2, 4], [2, 1], { zeroInfinity: true, blank: 3 }),
        F.ctcLoss(p.select(1, 0), int([2, 1]), 4, 2),
      ]
    },
    () => x(4, 2, 4),
  ),
  dropout: on((a) => {
    manualSeed(7)
    return sq(F.dropout(a, { p: 0.4 }))
  }),
  elu: on(
    (a) => F.elu(a, { alpha: 1.5 }),
    () => apart(2, 3),
  ),
  embedding: on((a) => sq(F.embedding(int([1, 1, 0]), a, { paddingIdx: 0 }))),
  gaussianNllLoss: [
    (...[a, b, c]) => F.gaussianNllLoss(a as Tensor, b as Tensor, c as Tensor, { full: true }),
    () => [x(2, 3), w(2, 3), positive(2, 3)],
  ],
  gelu: on((a) => [F.gelu(a), F.gelu(a, { approximate: 'tanh' })]),
  hardtanh: on(
    (a) => sq(F.hardtanh(a)),
    () => apart(2, 3),
  ),
  huberLoss: onTwo(
    (a, b) => sq(F.huberLoss(a, b, { delta: 0.8 })),
    () => apart(2, 3),
    () => w(2, 3),
  ),
  klDiv: onTwo(
    (a, b) => [F.klDiv(a, b), F.klDiv(a, b, { logTarget: true, reduction: 'batchmean' })],
    undefined,
    () => positive(2, 3),
  ),
  l1Loss: onTwo(
    (a, b) => sq(F.l1Loss(a, b)),
    () => apart(2, 3),
    () => w(2, 3),
  ),
  layerNorm: [
    (...[a, b, c]) => sq(F.layerNorm(a as Tensor, [3], { weight: b as Tensor, bias: c as Tensor })),
    () => [x(2, 3), w(3), x(3)],
  ],
  leakyRelu: on(
    (a) => sq(F.leakyRelu(a)),
    () => apart(2, 3),
  ),
  linear: [
    (...[a, b, c]) => sq(F.linear(a as Tensor, b as Tensor, c as Tensor)),
    () => [x(2, 3), w(2, 3), x(2)],
  ],
  logSigmoid: on((a) => F.logSigmoid(a)),
  logSoftmax: on((a) => F.logSoftmax(a, 1)),
  maxPool1d: on(
    (a) => [
      sq(F.maxPool1d(a, 2)),
      sq(F.maxPool1d(a, 3, { stride: 1, padding: 1 })),
      sq(F.maxPool1d(a, 2, { stride: 2, dilation: 2, ceilMode: true })),
    ],
    () => apart(2, 2, 6),
  ),
  mish: on((a) => F.mish(a)),
  mseLoss: onTwo(
    (a, b) => sq(F.mseLoss(a, b)),
    undefined,
    () => w(2, 3),
  ),
  nllLoss: on((a) => sq(F.nllLoss(a, int([1, 2])))),
  poissonNllLoss: onTwo(
    (a, b) => [
      F.poissonNllLoss(a, b),
      F.poissonNllLoss(a.abs().add(1), b, { logInput: false, full: true }),
    ],
    () => apart(2, 3),
    () => leaf(positive(2, 3).detach().add(2)),
  ),
  quantileLoss: onTwo(
    (a, b) => sq(F.quantileLoss(a, b, [0.1, 0.5, 0.9])),
    () => apart(2, 3),
    () => w(2),
  ),
  relu: on(
    (a) => sq(F.relu(a)),
    () => apart(2, 3),
  ),
  relu6: on(
    (a) => sq(F.relu6(a)),
    () => apart(2, 3),
  ),
  scaledDotProductAttention: [
    (...[a, b, c]) =>
      F.scaledDotProductAttention(a as Tensor, b as Tensor, c as Tensor, { isCausal: true }),
    () => [x(2, 3, 2), w(2, 3, 2), x(2, 3, 2)],
  ],
  sigmoid: on((a) => F.sigmoid(a)),
  silu: on((a) => F.silu(a)),
  smoothL1Loss: onTwo(
    (a, b) => sq(F.smoothL1Loss(a, b, { beta: 0.5 })),
    () => apart(2, 3),
    () => w(2, 3),
  ),
  softmax: on((a) => F.softmax(a, 1)),
  softplus: on((a) => F.softplus(a, { beta: 2 })),
  tanh: on((a) => F.tanh(a)),
}
const FUNCTIONS_WITHOUT = new Set(['ctcDecode', 'oneHot', 'sample'])

/** Layers, and functions of the top level. */
const OTHERS: Record<string, Case> = {
  cat: onTwo((a, b) => sq(cat([a, b.unsqueeze(0)], 0))),
  stack: onTwo((a, b) => sq(stack([a.select(0, 0), b], 1))),
  einsum: onTwo((a, b) => einsum('ij,j->i', a, b)),
  where: onTwo((a, b) => sq(where(mask(), a, b))),
  AdaptiveLogSoftmaxWithLoss: (() => {
    const layer = new nn.AdaptiveLogSoftmaxWithLoss(3, 6, [2, 4], { divValue: 1 })
    return on((a) => layer.forward(a, int([1, 5])).loss)
  })(),
  BatchNorm1d: (() => {
    const layer = new nn.BatchNorm1d(3)
    return on(
      (a) => layer.forward(a),
      () => x(4, 3),
    )
  })(),
  MultiheadAttention: (() => {
    const layer = new nn.MultiheadAttention(4, 2)
    return on(
      (a) => layer.forward(a, a, a)[0],
      () => x(3, 2, 4),
    )
  })(),
  CRF: (() => {
    const tags = int([
      [0, 2],
      [2, 1],
      [1, 7],
    ])
    const on3 = tensor([
      [true, true],
      [true, true],
      [true, false],
    ])
    const [plain, first] = [new nn.CRF(3), new nn.CRF(3, { batchFirst: true })]
    return [
      (...[a, s, e, t]) => {
        for (const layer of [plain, first])
          Object.assign(layer, { start_transitions: s, end_transitions: e, transitions: t })
        const turned = (a as Tensor).transpose(0, 1)
        return [
          plain.forward(a as Tensor, tags, { mask: on3, reduction: 'none' }),
          first.forward(turned, tags.clamp(0, 2).t(), { reduction: 'mean' }),
          plain.forward((a as Tensor).select(1, 0), tags.select(1, 0)),
          plain.forward((a as Tensor).slice(0, 0, 1), tags.slice(0, 0, 1)),
        ]
      },
      () => [x(3, 2, 3), w(3), x(3), w(3, 3)],
    ]
  })(),
  'RNN with relu': (() => {
    const layer = new nn.RNN(2, 3, { nonlinearity: 'relu' })
    return on(
      (a) => sq(layer.forward(a)[0]),
      () => x(2, 1, 2),
    )
  })(),
  LSTMCell: (() => {
    const layer = new nn.LSTMCell(2, 3)
    return on(
      (a) => layer.forward(a) as [Tensor, Tensor],
      () => x(2, 2),
    )
  })(),
}

for (const [kind, cases] of Object.entries({ method: METHODS, function: FUNCTIONS, other: OTHERS }))
  for (const [name, [f, inputs]] of Object.entries(cases))
    test(`gradients of gradients, ${kind}: ${name}`, (t) =>
      gradgradcheck(t, f, inputs(), { tol: 4e-3, stride: emulated ? 3 : 1 }))

test('no operation is left out', (t) => {
  const names = new Set<string>()
  for (let p = Tensor.prototype; p !== Object.prototype; p = Object.getPrototypeOf(p))
    for (const name of Object.getOwnPropertyNames(p))
      if (typeof Object.getOwnPropertyDescriptor(p, name)?.value === 'function') names.add(name)
  const left = [...names].filter((name) => !(name in METHODS) && !WITHOUT.has(name))
  t.deepEqual(left, [], 'methods')
  const functions = Object.keys(library.nn.functional)
  t.deepEqual(
    functions.filter((name) => !(name in FUNCTIONS) && !FUNCTIONS_WITHOUT.has(name)),
    [],
    'functions',
  )
})

const numbers = fixture('double_backward')

/** What test/fixtures/make_double_backward.py has under the same names. */
const POINTS: Record<string, (...inputs: Tensor[]) => Tensor> = {
  prod: (a) => a.prod(),
  prod_dim: (a) => a.prod(1),
  cumprod: (a) => a.cumprod(1),
  pow_tensor: (a, b) => a.pow(b),
  atan2: (a, b) => a.atan2(b),
  fmod: (a, b) => a.fmod(b).square(),
  mish: (a) => F.mish(a),
  gelu_tanh: (a) => F.gelu(a, { approximate: 'tanh' }),
  softplus: (a) => F.softplus(a),
  bce: (a, b) => F.binaryCrossEntropyWithLogits(a, b, { posWeight: tensor([1, 2, 3]) }),
  l1: (a, b) => F.l1Loss(a, b).square(),
  norm: (a) => a.add(3).norm({ p: 3 }).add(a.norm()),
  max_pool: (a) => F.maxPool1d(a, 2, { stride: 1, padding: 1 }).pow(3),
  avg_pool: (a) =>
    F.avgPool1d(a, 3, { stride: 2, padding: 1, ceilMode: true, countIncludePad: false }).pow(3),
}

for (const [name, f] of Object.entries(POINTS))
  test(`gradients of gradients as PyTorch where formulas are delicate: ${name}`, async (t) => {
    const inputs = [0, 1]
      .filter((i) => numbers.has(`points.${name}.${i}`))
      .map((i) => numbers.tensor(`points.${name}.${i}`, { requiresGrad: true }))
    const y = f(...inputs)
    const first = autograd.grad(y, inputs, { gradOutputs: ones(y.shape), createGraph: true })
    const total = first
      .map((g) => {
        const weights = Array.from({ length: g.numel }, (_, i) => 0.5 + i / (g.numel - 1))
        return g.mul(tensor(weights).reshape(g.shape)).sum()
      })
      .reduce((a, b) => a.add(b))
    const second = autograd.grad(total, inputs)
    for (const i of inputs.keys()) {
      await closeTo(t, first[i], numbers.array(`points.${name}.first.${i}`), 2e-5, `first ${i}`)
      await closeTo(t, second[i], numbers.array(`points.${name}.second.${i}`), 1e-4, `second ${i}`)
    }
  })

test('a gradient penalty through Conv1d as PyTorch', async (t) => {
  const layer = new nn.Conv1d(4, 6, 3, { stride: 2, padding: 1, groups: 2 })
  layer.loadStateDict(numbers.tensors('conv1d.state'))
  const input = numbers.tensor('conv1d.x', { requiresGrad: true })
  const y = layer.forward(input)
  const gradOutputs = ones(y.shape)
  const [dx] = autograd.grad(y, input, { gradOutputs, createGraph: true }) as [Tensor]
  await closeTo(t, dx, numbers.array('conv1d.dx'), 1e-4, 'dx')
  const norm = dx.pow(2).sum(-1).add(1e-3).sqrt()
  const loss = y.mean().add(norm.sub(1).pow(2).mean())
  loss.backward()
  await closeTo(t, input.grad, numbers.array('conv1d.grad'), 1e-4, 'x.grad')
  for (const [key, parameter] of layer.namedParameters())
    await closeTo(t, parameter.grad, numbers.array(`conv1d.grads.${key}`), 1e-4, key)
})

test('second derivatives of powers at 0', async (t) => {
  const base = tensor([0, 0, 2, -2], { requiresGrad: true })
  const exponent = tensor([2, 1, 0, 3], { requiresGrad: true })
  const y = base.pow(exponent)
  const [first] = autograd.grad(y.sum(), base, { createGraph: true }) as [Tensor]
  await closeTo(t, first, [0, 1, 0, 12], 1e-6)
  const [second, mixed] = autograd.grad(first.sum(), [base, exponent])
  await closeTo(t, second, [2, 0, 0, -12], 1e-6)
  // Of x^y by x and y: x^(y - 1) (1 + y log x).
  t.true(Math.abs(((await mixed?.data())?.[2] as number) - 0.5) < 1e-6)
  t.is((await mixed?.data())?.[0], 0)
})

test('CTC without an alignment: 0 with zeroInfinity, as the gradient itself without', async (t) => {
  const logits = x(2, 2, 3)
  const loss = (zeroInfinity: boolean): Tensor =>
    F.ctcLoss(
      logits.logSoftmax(2),
      int([
        [1, 1],
        [2, 1],
      ]),
      [2, 2],
      [2, 2],
      {
        reduction: 'sum',
        zeroInfinity,
      },
    )
  for (const zeroInfinity of [true, false]) {
    const [plain] = autograd.grad(loss(zeroInfinity), logits)
    const [again] = autograd.grad(loss(zeroInfinity), logits, { createGraph: true })
    await closeTo(t, again, (await plain?.data()) as Float32Array, 1e-5)
  }
  const [dx] = autograd.grad(loss(true), logits, { createGraph: true }) as [Tensor]
  const [second] = autograd.grad(dx.square().sum(), logits) as [Tensor]
  const values = (await second.data()) as Float32Array
  t.true(values.every((value, i) => Number.isFinite(value) && (value === 0) === i % 6 < 3))
})

test('CTC and CRF with createGraph on lengths of 0 and scores of -Infinity', async (t) => {
  const logits = x(3, 2, 3)
  const given = [
    int([
      [1, 2],
      [2, 1],
    ]),
    [3, 0],
    [2, 0],
  ] as const
  const [plain] = autograd.grad(F.ctcLoss(logits.logSoftmax(2), ...given), logits)
  const [again] = autograd.grad(F.ctcLoss(logits.logSoftmax(2), ...given), logits, {
    createGraph: true,
  })
  await closeTo(t, again, (await plain?.data()) as Float32Array, 1e-5)
  const p = logits.logSoftmax(2).detach()
  const off = leaf(p.maskedFill(tensor([false, false, true]), -Infinity))
  const labels = int([
    [1, 1],
    [1, 0],
  ])
  const sure = (): Tensor => F.ctcLoss(off, labels, [3, 3], [2, 1], { reduction: 'sum' })
  const [one] = autograd.grad(sure(), off)
  const [two] = autograd.grad(sure(), off, { createGraph: true })
  await closeTo(t, two, (await one?.data()) as Float32Array, 1e-5)
})
