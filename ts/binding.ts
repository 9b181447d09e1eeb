/**
 * The whole native surface, typed. Nobody else loads the addon.
 *
 * Every call returns at once: its work is small and done, or goes on the queue. Sizes are checked by
 * the callers in ts/; the native side checks them once more against the buffers. A device is a
 * number: -1 for the CPU, else a GPU's index. Operations run where their buffers are, which has to
 * be one place.
 */
import { types } from 'node:util'
import { isMainThread } from 'node:worker_threads'
import { findAddon } from './addon.js'
import type { Values } from './dtype.js'
import { requireHere } from './here.js'
import { collectYoung } from './minor_gc.js'

/** A share of a native buffer; opaque here. */
export type Buffer = { readonly __fusedRnnBuffer: unique symbol }

/** Functions of two elements, and of one; in the order of native/ops/functions.def. */
export const BinaryOp = {
  add: 0,
  sub: 1,
  mul: 2,
  div: 3,
  maximum: 4,
  minimum: 5,
  fmod: 6,
  remainder: 7,
  atan2: 8,
  pow: 9,
  maximumShare: 10,
  minimumShare: 11,
  powBase: 12,
  powExponent: 13,
  atan2Share: 14,
  eq: 15,
  ne: 16,
  lt: 17,
  le: 18,
  gt: 19,
  ge: 20,
} as const
export const UnaryOp = {
  neg: 0,
  exp: 1,
  log: 2,
  sqrt: 3,
  abs: 4,
  pow: 5,
  clamp: 6,
  tanh: 7,
  sigmoid: 8,
  relu: 9,
  sign: 10,
  round: 11,
  floor: 12,
  ceil: 13,
  trunc: 14,
  sin: 15,
  cos: 16,
  tan: 17,
  asin: 18,
  acos: 19,
  atan: 20,
  sinh: 21,
  cosh: 22,
  erf: 23,
  log1p: 24,
  expm1: 25,
  log2: 26,
  log10: 27,
  exp2: 28,
  rsqrt: 29,
  reciprocal: 30,
  square: 31,
  softplus: 32,
  gelu: 33,
  geluTanh: 34,
  silu: 35,
  elu: 36,
  leakyRelu: 37,
  logSigmoid: 38,
  hardtanh: 39,
  mish: 40,
  nanToNum: 41,
} as const

/** Uniform in [a, b), or normal with mean a and standard deviation b. */
export const RandomKind = { uniform: 0, normal: 1 } as const
export const FoldKind = { product: 0, logsumexp: 1, norm: 2, variance: 3 } as const
export const ScanKind = { sum: 0, product: 1, linear: 2 } as const
/** The cells without a recurrent matrix: ElementwiseKind in native/ops/ops_elementwise.h. */
export const ElementwiseKind = {
  indrnn_relu: 0,
  indrnn_tanh: 1,
  sru: 2,
  sru_skip: 3,
  min_gru: 4,
  min_lstm: 5,
} as const
export type ElementwiseKind = (typeof ElementwiseKind)[keyof typeof ElementwiseKind]
export const Reduction = { none: 0, mean: 1, sum: 2 } as const
/** What products of float32 are computed in. */
export const Fp32Precision = { ieee: 0, tf32: 1, bf16: 2 } as const
/** What allReduce makes of the processes' values. */
export const Reduce = { sum: 0, min: 1, max: 2, product: 3 } as const
/** The steps of native/ops/update_rules.h. */
export const UpdateRule = {
  rmsprop: 0,
  rmspropMomentum: 1,
  rmspropCentered: 2,
  rmspropCenteredMomentum: 3,
  adagrad: 4,
  adadelta: 5,
  adamax: 6,
  nadam: 7,
  radam: 8,
  asgd: 9,
  rprop: 10,
  sgd: 11,
  sparseAdam: 12,
} as const
export const PairLoss = {
  mse: 0,
  bceWithLogits: 1,
  l1: 2,
  smoothL1: 3,
  huber: 4,
  bce: 5,
  klDiv: 6,
  klDivLog: 7,
  poisson: 8,
  poissonLog: 9,
  pinball: 10,
} as const

export interface EngineInfo {
  /** Instruction set of the CPU kernels: 'avx512', 'avx2' or 'base'. */
  isa: string
  /** That of the kernels that multiply bfloat16: `isa`, or 'avx512bf16'. */
  bf16: string
  /** That of the kernels that multiply int8: `isa`, or 'avx512vnni'. */
  int8: string
  /** Those that are built and can run on this processor, widest first. */
  isas: string[]
  /** What the processor has of the instructions that matter here: 'avx2', … */
  features: string[]
  threads: number
  /** The number that it began with, where that came from, and a variable that was passed over. */
  threadsAtStart: number
  threadsWhy: string
  threadsWarning: string
}

/** A device's memory, as all environments of the process use it. */
export interface MemoryInfo {
  liveBytes: number
  peakBytes: number
  cachedBytes: number
  liveBuffers: number
}

export interface CudaInfo {
  devices: {
    name: string
    memoryBytes: number
    major: number
    minor: number
    multiprocessors: number
  }[]
  /** Why there are none; else empty. */
  missing: string
  /** Of the CUDA runtime inside, as '13.0'; empty where CUDA was not built. */
  runtime: string
  /** The newest CUDA that the driver serves, as '13.0'; empty where there is no driver. */
  driver: string
}

/** A tensor on its way to or from another library; see FusedRnnCapsule in native/include/fused_rnn/c.h. */
export type DlpackCapsule = { readonly __dlpackCapsule: unique symbol }

/** When operations of a queue ran. */
export interface QueueTrace {
  ops: string[]
  /** 1: at the call, on JavaScript's thread. */
  here: Uint8Array
  /** Begin and end of each, in milliseconds. */
  times: Float64Array
  /** How many were more than are kept. */
  dropped: number
}

/** A cell as the kernels know it: native/cells/weights.h. */
export interface CellInfo {
  /** As in native/cells/cells.def. */
  name: string
  /** Rows of weight_ih over hidden size. */
  gates: number
  /** How many states c has besides h, hidden size numbers each; 0 without c. */
  states: number
  /** Whether it normalises, and so has gains. */
  norms: boolean
  /** Whether weight_hh may be divided into heads. */
  heads: boolean
  /** Of a layer and direction, in the order of the calls. */
  weights: {
    /** Without suffix: 'weight_ih'. */
    name: string
    /** gates: rows of all gates; out: proj, or without projection hidden. */
    shape: ('gates' | 'input' | 'out' | 'hidden' | 'proj')[]
    /** There only where the layer has biases. */
    bias: boolean
    /** There only with a projection. */
    projection: boolean
  }[]
}

/** What the two recurrent calls share; see RnnShape in native/ops/ops.h. */
export type RecurrentShared = readonly [
  cell: number,
  layers: number,
  directions: number,
  input: number,
  hidden: number,
  proj: number,
  bias: boolean,
  batch: number,
  /** T, or the batch size of every step. */
  steps: number | Int32Array,
  x: Buffer,
  dropout: number,
  seed: number,
  counter: number,
  /** Parts of the old h and c in the new ones. */
  partH: number,
  partC: number,
  /** hFactor, keepH, keepC, reset, mask; null: none of them. */
  options: readonly (Buffer | null)[] | null,
]

/** What the two calls of a layer without a recurrent matrix share; see native/ops/ops_elementwise.h. */
export type ElementwiseShared = readonly [
  kind: number,
  hidden: number,
  batch: number,
  /** T, or the batch size of every step. */
  steps: number | Int32Array,
  reverse: boolean,
  a: Buffer,
  x: Buffer | null,
  v: Buffer | null,
  b: Buffer | null,
  state0: Buffer | null,
  reset: Buffer | null,
  mask: Buffer | null,
]

/** The same of a layer with the input's product. */
export type ElementwiseLayerShared = readonly [
  kind: number,
  hidden: number,
  batch: number,
  /** T, or the batch size of every step. */
  steps: number | Int32Array,
  reverse: boolean,
  inputs: number,
  x: Buffer,
  w: Buffer,
  bias: Buffer | null,
  v: Buffer | null,
  b: Buffer | null,
  state0: Buffer | null,
  reset: Buffer | null,
  mask: Buffer | null,
]

/** What the calls of a CTC loss share; see CtcShape in native/ops/ops_sequence.h. */
export type CtcShared = readonly [
  logProbs: Buffer,
  steps: number,
  batch: number,
  classes: number,
  targets: Buffer,
  /** Of padded targets; -1: one after the other. */
  width: number,
  inputLengths: Buffer,
  targetLengths: Buffer,
  blank: number,
  zeroInfinity: boolean,
]

/** What the calls of a CRF share; see CrfShape there. */
export type CrfShared = readonly [
  emissions: Buffer,
  steps: number,
  batch: number,
  tags: number,
  batchFirst: boolean,
  start: Buffer,
  end: Buffer,
  transitions: Buffer,
]

export interface Binding {
  // memory
  /** Throws when there are not `length` values, whatever the array says of itself. */
  upload(values: Values, device: number, length: number): Buffer
  /** Memory of the host whose values {@link fillPart} brings; until then they are anything. */
  allocate(length: number, dtype: number): Buffer
  /** Copies values to a place in a buffer of {@link allocate} that nothing has used yet. */
  fillPart(buffer: Buffer, offset: number, values: Values): void
  /** The same values on another device. */
  toDevice(buffer: Buffer, device: number): Buffer
  view(buffer: Buffer, offset: number, length: number): Buffer
  /** Nobody may use the handle afterwards; another buffer may get it. */
  release(buffer: Buffer): void
  clone(buffer: Buffer): Buffer
  /** Copies values (same length and type) into an existing buffer. */
  copyInto(to: Buffer, from: Buffer): void
  /** The values, or a promise of them while the queue is busy. Throws, or rejects, as `data()`. */
  read(buffer: Buffer): Values | Promise<Values>
  /** A share of the memory, or a promise of it while the queue is busy. Throws, or rejects, as `read`. */
  toDlpack(
    buffer: Buffer,
    shape: readonly number[],
    device: number,
  ): DlpackCapsule | Promise<DlpackCapsule>
  /** The device; null of a capsule that has been emptied; undefined of anything else. */
  dlpackDevice(value: unknown): number | null | undefined
  /** Empties a full capsule. @throws RangeError when it is no contiguous array of a known type */
  fromDlpack(capsule: DlpackCapsule): [buffer: Buffer, shape: number[], dtype: number]
  /** Some elements of a buffer of the host, or null where they are not there yet, or failed. */
  peek(buffer: Buffer, numbers: readonly number[]): number[] | null
  /** Nothing, or a promise while the queue is busy. Throws, or rejects, as `synchronize()`. */
  synchronize(device: number): void | Promise<void>
  /** A promise for room in the queues, or null when there is room now. */
  room(): Promise<void> | null
  /** The first failure that no promise has reported yet. Called when the event loop has turned. */
  takeError(): string | null
  /** Stops the queues and drops what is outstanding; once, when the JavaScript program ends. */
  shutDown(): void
  /**
   * `collect` looks for garbage among V8's young objects. It is called where JavaScript waits, when
   * tensors of some 32 MB have been made since the last time.
   */
  setYoungCollector(collect: () => void): void
  /**
   * Throws when the system has no room for so many bytes that JavaScript is about to allocate; `fn` is
   * the function to name.
   */
  checkAvailable(fn: string, bytes: number): void
  /** The same for what is about to be read from a file, which FUSED_RNN_MEMORY_LIMIT counts too. */
  checkRoom(bytes: number): void
  setThreads(threads: number): void
  /** The GPUs', in the values of Fp32Precision, and whether the CPU rounds to bfloat16. */
  setPrecision(matmul: number, rnn: number, bf16Matmul: boolean, bf16Rnn: boolean): void
  memory(device: number): MemoryInfo
  cuda(): CudaInfo
  /** Why cuBLAS cannot be used, or an empty string. Opens it, driver or not. */
  cublasMissing(): string
  info(): EngineInfo
  /** Notes when operations run on the device's queue. @returns what its clock shows, in milliseconds */
  startTrace(device: number): number
  takeTrace(device: number): QueueTrace
  /** For tests: what a system whose proc/ and sys/ lie in the folder `root` lets a process use. */
  usableProcessors(root: string, processes: number): { count: number; why: string }

  // pointwise
  fill(length: number, value: number, device: number): Buffer
  /** to[i] += from[i], each pair of one length. */
  addInto(to: readonly Buffer[], from: readonly Buffer[]): void
  binary(
    op: number,
    a: Buffer,
    b: Buffer,
    shape: readonly number[],
    aStrides: readonly number[],
    bStrides: readonly number[],
  ): Buffer
  /** a (op) value */
  binaryNumber(op: number, a: Buffer, value: number): Buffer
  /** The values as another type; in the numbers of DTypeCode, as in all calls. */
  cast(x: Buffer, dtype: number): Buffer
  /**
   * condition ? a : b, of type `dtype`; where a or b is null, its number.
   */
  where(
    condition: Buffer,
    a: Buffer | null,
    b: Buffer | null,
    aNumber: number,
    bNumber: number,
    dtype: number,
    shape: readonly number[],
    conditionStrides: readonly number[],
    aStrides: readonly number[],
    bStrides: readonly number[],
  ): Buffer
  /** The names of UnaryOp and of BinaryOp on the native side, for a test. */
  functions(): [unary: string[], binary: string[]]
  unary(op: number, x: Buffer, p: number, q: number, r: number): Buffer
  unaryBackward(op: number, dy: Buffer, saved: Buffer, p: number, q: number): Buffer

  // reductions over the middle dimension of [outer, n, inner]
  sum(x: Buffer, outer: number, n: number, inner: number, scale: number): Buffer
  max(
    x: Buffer,
    outer: number,
    n: number,
    inner: number,
    smallest: boolean,
    values: boolean,
    indices: boolean,
  ): [values: Buffer | null, indices: Buffer | null]
  maxBackward(dy: Buffer, index: Buffer, outer: number, n: number, inner: number): Buffer
  /** dy in equal parts wherever x equals the value. */
  extremeBackward(
    dy: Buffer,
    x: Buffer,
    value: Buffer,
    outer: number,
    n: number,
    inner: number,
  ): Buffer
  /** A {@link FoldKind}; p: of a norm, or what a variance's divisor is less than n. */
  fold(kind: number, x: Buffer, outer: number, n: number, inner: number, p: number): Buffer
  /** A {@link ScanKind}; a: the factors of a recurrence. */
  scan(
    kind: number,
    x: Buffer,
    a: Buffer | null,
    outer: number,
    n: number,
    inner: number,
    reverse: boolean,
  ): Buffer
  /** The first k of each row in order, and where they were. */
  sort(
    x: Buffer,
    rows: number,
    n: number,
    k: number,
    descending: boolean,
    values: boolean,
  ): [values: Buffer | null, indices: Buffer]
  softmax(x: Buffer, outer: number, n: number, inner: number, log: boolean): Buffer
  softmaxBackward(
    dy: Buffer,
    y: Buffer,
    outer: number,
    n: number,
    inner: number,
    log: boolean,
  ): Buffer

  /** → [y, mean of every row, 1 / standard deviation of every row] */
  layerNorm(
    x: Buffer,
    rows: number,
    n: number,
    weight: Buffer | null,
    bias: Buffer | null,
    eps: number,
  ): [Buffer, Buffer, Buffer]
  /** → [dx, dweight, dbias], null where not wanted */
  layerNormBackward(
    dy: Buffer,
    x: Buffer,
    rows: number,
    n: number,
    weight: Buffer | null,
    mean: Buffer,
    scale: Buffer,
    needsX: boolean,
    needsWeight: boolean,
    needsBias: boolean,
  ): (Buffer | null)[]

  // layouts
  copyStrided(
    x: Buffer,
    shape: readonly number[],
    strides: readonly number[],
    offset: number,
  ): Buffer
  /** Inputs [outer, widths[i]] side by side; null, for all but one at most, stands for zeros. */
  concat(inputs: readonly (Buffer | null)[], widths: readonly number[], outer: number): Buffer

  // matrix products; strides count matrices
  matmul(
    a: Buffer,
    b: Buffer,
    transA: boolean,
    transB: boolean,
    m: number,
    n: number,
    k: number,
    batch: readonly number[],
    aStrides: readonly number[],
    bStrides: readonly number[],
  ): Buffer

  // linear
  /** `inference`: no gradient is wanted. */
  linear(
    x: Buffer,
    w: Buffer,
    b: Buffer | null,
    m: number,
    inputs: number,
    outputs: number,
    inference: boolean,
  ): Buffer
  /** `x` is needed for dw, `w` for dx; null where the gradient is not wanted. */
  linearBackward(
    dy: Buffer,
    x: Buffer | null,
    w: Buffer | null,
    m: number,
    inputs: number,
    outputs: number,
    bias: boolean,
  ): [dx: Buffer | null, dw: Buffer | null, db: Buffer | null]

  // int8; the format of the words is in native/cpu/int8/kernels.h
  /** Of w [groups * rows, columns]. */
  quantizeWeights(
    w: Buffer,
    groups: number,
    rows: number,
    columns: number,
  ): [words: Buffer, scales: Buffer]
  int8Linear(
    x: Buffer,
    words: Buffer,
    scales: Buffer,
    b: Buffer | null,
    m: number,
    inputs: number,
    outputs: number,
  ): Buffer
  /** weights: for each layer and direction those of `cells()`, then their scales. */
  int8Rnn(
    ...args: [
      ...RecurrentShared,
      h0: Buffer | null,
      c0: Buffer | null,
      ...weights: (Buffer | null)[],
    ]
  ): [y: Buffer, hn: Buffer, cn: Buffer | null, workspace: null]

  // rows by index
  gatherRows(
    op: string,
    x: Buffer,
    index: Buffer,
    outer: number,
    rows: number,
    width: number,
    fillAbsent: boolean,
    fill: number,
  ): Buffer
  scatterAddRows(
    dy: Buffer,
    index: Buffer,
    outer: number,
    rows: number,
    width: number,
    skip: number,
  ): Buffer
  /**
   * Rows that were sorted by index, those of one added up: `index` has each once and -1 elsewhere, where
   * the sums are 0.
   */
  sumRuns(sorted: Buffer, order: Buffer, x: Buffer, width: number): [index: Buffer, sums: Buffer]

  /** The places of (i, j, …) in an array of these sizes; each index is checked against its own. */
  flatIndex(op: string, indices: readonly Buffer[], sizes: readonly number[]): Buffer

  // elements by index along the middle dimension
  gather(
    op: string,
    x: Buffer,
    index: Buffer,
    outer: number,
    n: number,
    m: number,
    inner: number,
  ): Buffer
  /** x: null for zeros. src: null for the number everywhere. */
  scatter(
    op: string,
    x: Buffer | null,
    index: Buffer,
    src: Buffer | null,
    number: number,
    outer: number,
    n: number,
    m: number,
    inner: number,
    add: boolean,
  ): Buffer

  // ranges, parts of matrices
  /** start + i · step, from the end backwards in the second half. */
  ramp(
    length: number,
    start: number,
    step: number,
    end: number,
    integer: boolean,
    device: number,
  ): Buffer
  /** Where low <= column - row <= high; 0 elsewhere. */
  band(x: Buffer, batch: number, rows: number, columns: number, low: number, high: number): Buffer
  eye(rows: number, columns: number, integer: boolean, device: number): Buffer

  // recurrent layers; see RnnForwardArgs and RnnBackwardArgs
  /** By the number that the recurrent calls take. */
  cells(): CellInfo[]
  /** weights: for each layer and direction those of `cells()`, null where there is none. */
  rnnForward(
    ...args: [
      ...RecurrentShared,
      h0: Buffer | null,
      c0: Buffer | null,
      keep: boolean,
      ...weights: (Buffer | null)[],
    ]
  ): [y: Buffer, hn: Buffer, cn: Buffer | null, workspace: Buffer | null]
  /** dx, dh0, dc0 and the gradients of the weights, null where `needs` is false. */
  rnnBackward(
    ...args: [
      ...RecurrentShared,
      workspace: Buffer,
      dy: Buffer | null,
      dhn: Buffer | null,
      dcn: Buffer | null,
      /** Whether each of x, h0, c0 and the weights needs its gradient; then the weights. */
      ...needsAndWeights: (boolean | Buffer | null)[],
    ]
  ): (Buffer | null)[]

  /** states is for backward, of cells whose state is not the output; null unless `keep`. */
  elementwiseRnn(
    ...args: [...ElementwiseShared, keep: boolean]
  ): [y: Buffer, last: Buffer, states: Buffer | null]
  /** da, dx, dv, db and dstate0, null where not needed. */
  elementwiseRnnBackward(
    ...args: [
      ...ElementwiseShared,
      /** Or y. */
      states: Buffer,
      dy: Buffer | null,
      dlast: Buffer | null,
      needsX: boolean,
      needsV: boolean,
      needsB: boolean,
      needsState0: boolean,
    ]
  ): (Buffer | null)[]

  /** Product and loop in one, on the CPU; states as above, and a for backward. */
  elementwiseLayer(
    ...args: [...ElementwiseLayerShared, keep: boolean]
  ): [y: Buffer, last: Buffer, states: Buffer | null, a: Buffer | null]
  /** dx, dw, dbias, dv, db and dstate0, null where not needed. */
  elementwiseLayerBackward(
    ...args: [
      ...ElementwiseLayerShared,
      a: Buffer,
      /** Or y. */
      states: Buffer,
      dy: Buffer | null,
      dlast: Buffer | null,
      needsX: boolean,
      needsW: boolean,
      needsBias: boolean,
      needsV: boolean,
      needsB: boolean,
      needsState0: boolean,
    ]
  ): (Buffer | null)[]

  // random numbers; each a function of (seed, counter, element)
  /** kind uniform: in [a, b); normal: mean a, standard deviation b. */
  random(
    kind: number,
    length: number,
    a: number,
    b: number,
    seed: number,
    counter: number,
    device: number,
  ): Buffer
  /** int32: low + a whole number in [0, range). */
  randomIntegers(
    length: number,
    low: number,
    range: number,
    seed: number,
    counter: number,
    device: number,
  ): Buffer
  /** bool: true with probability p. */
  randomBooleans(length: number, p: number, seed: number, counter: number, device: number): Buffer
  multinomial(
    p: Buffer,
    rows: number,
    classes: number,
    samples: number,
    replacement: boolean,
    seed: number,
    counter: number,
  ): Buffer
  /** As random, into an existing buffer. */
  randomInto(to: Buffer, kind: number, a: number, b: number, seed: number, counter: number): void
  fillInto(to: Buffer, value: number): void
  dropout(x: Buffer, length: number, p: number, seed: number, counter: number): Buffer
  sample(
    logits: Buffer,
    rows: number,
    classes: number,
    temperature: number,
    topK: number,
    seed: number,
    counter: number,
  ): Buffer
  oneHot(indices: Buffer, length: number, classes: number): Buffer

  // losses
  /** → [loss, log-sum-exp of every row] */
  crossEntropy(
    logits: Buffer,
    target: Buffer,
    weight: Buffer | null,
    rows: number,
    classes: number,
    ignoreIndex: number,
    labelSmoothing: number,
    logProbabilities: boolean,
    reduction: number,
  ): [Buffer, Buffer]
  crossEntropyBackward(
    logits: Buffer,
    target: Buffer,
    weight: Buffer | null,
    rows: number,
    classes: number,
    ignoreIndex: number,
    labelSmoothing: number,
    logProbabilities: boolean,
    reduction: number,
    lse: Buffer,
    dloss: Buffer,
    /** Compute the values when they are read, unless linearBackward comes first. */
    defer: boolean,
  ): Buffer
  pairLoss(
    kind: number,
    option: number,
    reduction: number,
    length: number,
    x: Buffer,
    t: Buffer,
    weight: Buffer | null,
    posWeight: Buffer | null,
  ): Buffer
  /** → [dx, dt], null where not wanted */
  pairLossBackward(
    kind: number,
    option: number,
    reduction: number,
    length: number,
    x: Buffer,
    t: Buffer,
    weight: Buffer | null,
    posWeight: Buffer | null,
    dloss: Buffer,
    needsX: boolean,
    needsT: boolean,
  ): [Buffer | null, Buffer | null]

  // sums over all paths through sequences
  /** alpha is for backward; null unless `keep`. */
  ctc(...args: [...CtcShared, keep: boolean]): [losses: Buffer, alpha: Buffer | null]
  ctcBackward(...args: [...CtcShared, alpha: Buffer, dloss: Buffer]): Buffer
  crf(
    ...args: [...CrfShared, path: Buffer, mask: Buffer | null, keep: boolean]
  ): [likelihood: Buffer, lengths: Buffer, alpha: Buffer | null]
  crfBackward(
    ...args: [...CrfShared, path: Buffer, lengths: Buffer, alpha: Buffer, dlikelihood: Buffer]
  ): [demissions: Buffer, dstart: Buffer, dend: Buffer, dtransitions: Buffer]
  crfDecode(...args: [...CrfShared, mask: Buffer | null]): Buffer

  // clipping and optimisers, in place: scale to maxNorm when `norm` is given, then clamp to maxValue
  /** @param p of the norm: any number but 0 */
  gradNorm(grads: readonly Buffer[], p: number): Buffer
  /**
   * Fails, in the queue, with "[checkFinite] number, place: expected finite numbers, got …" when a
   * value is not finite; the loss has the place 0. The gradients then count as not computed, so that
   * optimisers leave the parameters as they are. With a number below 0, clipGradNorm's message.
   */
  checkFinite(number: number, loss: Buffer | null, grads: readonly (Buffer | null)[]): void
  clipGrads(grads: readonly Buffer[], norm: Buffer | null, maxNorm: number, maxValue: number): void
  // The optimisers' tensors stand at the end, one after the other: reading arrays takes longer than
  // all else.
  /**
   * @param norm that of all gradients, or null: maxNorm, unless negative, is for the norm of these
   * @param count of the parameters
   * @param rest the parameters, their gradients, and, with momentum, the momentum buffers and
   *   whether each begins now
   */
  sgd(
    norm: Buffer | null,
    maxNorm: number,
    maxValue: number,
    lr: number,
    momentum: number,
    dampening: number,
    weightDecay: number,
    nesterov: boolean,
    maximize: boolean,
    count: number,
    ...rest: (Buffer | boolean)[]
  ): void
  /**
   * @param rest the parameters, their gradients, running means, running means of squares, with
   *   amsgrad the largest of those, then the step sizes and the scales of the squares
   */
  adam(
    norm: Buffer | null,
    maxNorm: number,
    maxValue: number,
    beta1: number,
    beta2: number,
    eps: number,
    weightDecay: number,
    shrink: number,
    maximize: boolean,
    amsgrad: boolean,
    count: number,
    ...rest: (Buffer | number)[]
  ): void
  /**
   * A step of any other optimiser. @param rule of UpdateRule
   * @param states how many tensors of state there are for a parameter
   * @param numbers how many numbers there are for a parameter
   * @param rest the parameters, their gradients, list by list the state and the numbers
   */
  optimizerStep(
    norm: Buffer | null,
    maxNorm: number,
    maxValue: number,
    rule: number,
    weightDecay: number,
    shrink: number,
    maximize: boolean,
    option0: number,
    option1: number,
    option2: number,
    option3: number,
    option4: number,
    states: number,
    numbers: number,
    count: number,
    ...rest: (Buffer | number)[]
  ): void
  /**
   * A step on some rows of each parameter, of those that {@link sumRuns} gives.
   * @param rest the parameters, list by list the state, the gradients' rows, their values, list by list
   *   the numbers
   */
  sparseStep(
    norm: Buffer | null,
    maxNorm: number,
    maxValue: number,
    rule: number,
    maximize: boolean,
    option0: number,
    option1: number,
    option2: number,
    option3: number,
    option4: number,
    states: number,
    numbers: number,
    count: number,
    ...rest: (Buffer | number)[]
  ): void

  // several processes; collectives are queued
  /** Why MPI cannot be used, or an empty string; what it calls itself. Opens it. */
  mpi(): { missing: string; version: string }
  /** Why NCCL cannot be used, or an empty string. Opens it, driver or not. */
  ncclMissing(): string
  /** How many processes a launcher has started together; 1 without one. */
  launchedProcesses(): number
  /** This process's number among those that the launcher has started on this machine. */
  localRank(): number
  /**
   * Begins; the CPU's queue waits for the others. Throws when that cannot be.
   * @param nccl whether GPUs have collectives of their own
   */
  joinGroup(nccl: boolean, timeoutSeconds: number): void
  /** Of collectives from now on. */
  groupTimeout(seconds: number): void
  leaveGroup(): void
  group(): [rank: number, size: number] | null
  /** No later collective can be, and this process will end the others. */
  breakGroup(why: string): void
  /** As the process ends with this code: waits for the others, or ends them. */
  endGroup(code: number): void
  /** Since the group was joined; see Traffic in native/distributed/process_group.h. */
  traffic(): { calls: number; bytes: number; seconds: number; waited: number }
  /** In place; `mean` divides the sum by the number of processes. */
  allReduce(x: Buffer, op: number, mean: boolean): void
  broadcast(x: Buffer, root: number): void
  /** All processes' values, one after the other. */
  allGather(x: Buffer): Buffer
  barrier(): void
  /** Fails, in the queue, with "[op] what: …" unless all processes give the same text. */
  checkSame(op: string, what: string, text: string): void
  /** Of gradients over all processes, by these weights; for endAverage, which changes the gradients. */
  beginAverage(grads: readonly Buffer[], weight: number): [ticket: number, flat: Buffer]
  endAverage(ticket: number, flat: Buffer, grads: readonly Buffer[]): void
}

/**
 * Test runners (Jest, node:vm) give each test file classes of its own, while the addon's are Node's:
 * what is read would be no Float32Array there, and equal to none.
 */
function inThisRealm(addon: Binding): Binding {
  if (Object.getPrototypeOf(addon.cells()) === Array.prototype) return addon
  const own = (values: Values): Values => {
    const { buffer, byteOffset, length } = values
    const Integers = types.isInt32Array(values) ? Int32Array : Uint8Array
    const Own = types.isFloat32Array(values) ? Float32Array : Integers
    return new Own(buffer as ArrayBuffer, byteOffset, length)
  }
  const read: Binding['read'] = (buffer) => {
    const values = addon.read(buffer)
    // A promise of Node's is none of this realm's either.
    return ArrayBuffer.isView(values) ? own(values) : Promise.resolve(values).then(own)
  }
  return Object.assign(Object.create(addon) as Binding, { read })
}

function load(file: string): Binding {
  try {
    return inThisRealm(requireHere(file) as Binding)
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`fused-rnn: cannot load the addon: ${message}`, { cause })
  }
}

/** The file of the addon that is loaded. */
export const addonFile = findAddon()
export const binding: Binding = load(addonFile)

// About a variable that is not ours alone; once a process.
const { threadsWarning } = binding.info()
if (threadsWarning !== '' && isMainThread) process.emitWarning(threadsWarning)

binding.setYoungCollector(collectYoung)

// After this event exit() takes away what the workers of the queues use: libraries' own tables, among
// which are some that they make while they run, and that go before any handler of ours is called.
process.once('exit', () => binding.shutDown())
