/** Functions of nn.functional, layers, and functions of the top level, each with a call of it. */
import { cat, einsum, manualSeed, nn, stack, type Tensor, tensor, where } from 'fused-rnn'
import {
  apart,
  type Case,
  inner,
  int,
  leaf,
  mask,
  on,
  onTwo,
  positive,
  sq,
  w,
  x,
} from './inputs.js'

const F = nn.functional

export const lengths = [4, 3]
export const targets = () =>
  int([
    [1, 1],
    [2, 0],
  ]) // prettier-ignore

export const FUNCTIONS: Record<string, Case> = {
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
export const FUNCTIONS_WITHOUT = new Set(['ctcDecode', 'oneHot', 'sample'])

// Near a relu's corner finite differences do not agree: weights are the same in each run.
manualSeed(2)

/** Layers, and functions of the top level. */
export const OTHERS: Record<string, Case> = {
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
  MinLSTM: (() => {
    const layer = new nn.MinLSTM(2, 3)
    return on(
      (a) => sq(layer.forward(a)[0]),
      () => x(2, 1, 2),
    )
  })(),
  SRUCell: (() => {
    const layer = new nn.SRUCell(2, 2)
    return on(
      (a) => layer.forward(a),
      () => x(2, 2),
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
