/** Methods of tensors, each with a call of it. */
import type { Tensor } from 'fused-rnn'
import { apart, type Case, inner, int, mask, on, onTwo, positive, sq, w, x } from './inputs.js'

/** By the names of methods and functions. */
export const METHODS: Record<string, Case> = {
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

/**
 * Methods that are no operations, and those whose results have no gradient. Sparse gradients are leaves:
 * under createGraph an embedding gives dense ones.
 */
export const METHODS_WITHOUT = new Set(
  `constructor changed share dropGrad attach viewAs data item backward registerHook retainGrad detach
  moveTo int bool toString toJSON argsort multinomial bernoulli argmax argmin eq ne lt le gt ge
  logicalAnd logicalOr logicalXor logicalNot isnan isinf isfinite any all isCoalesced coalesce
  indices values toDense`.split(/\s+/),
)
