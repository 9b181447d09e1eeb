/** Less memory for more time: what backward needs is computed again. As `torch.utils.checkpoint`. */

import { type Node, record } from '../autograd/node.js'
import { partialGradients } from '../autograd/partial.js'
import { isPlainObject } from '../copies.js'
import { checkInteger, checkIterable, formatShape, rangeError, typeError } from '../errors.js'
import { type Collector, collectInto, enableGrad, isGradEnabled } from '../grad_mode.js'
import { Module } from '../nn/module.js'
import { PackedSequence } from '../nn/packed_sequence.js'
import { RecurrentLayer } from '../nn/recurrent_layer.js'
import { cat } from '../ops/shape.js'
import { randomState, setRandomState } from '../random.js'
import { sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'

/** A value with its tensors replaced; arrays, plain objects and packed sequences are gone through. */
function mapTensors(value: unknown, f: (tensor: Tensor) => Tensor): unknown {
  if (value instanceof Tensor) return f(value)
  if (value instanceof PackedSequence) return value.withData(f(value.data))
  if (Array.isArray(value)) return value.map((item) => mapTensors(item, f))
  if (typeof value === 'object' && value !== null && isPlainObject(value))
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, mapTensors(one, f)]))
  return value
}

/** The float32 tensors in a value, in order. */
function tensorsIn(value: unknown): Tensor[] {
  const found: Tensor[] = []
  mapTensors(value, (tensor) => {
    if (tensor.dtype === 'float32') found.push(tensor)
    return tensor
  })
  return found
}

/**
 * fn(...inputs), of which only the inputs and the results are kept for backward: there everything in
 * between is computed again, with the same random numbers. As `torch.utils.checkpoint.checkpoint` with
 * `use_reentrant=False`: tensors that fn uses without being given them, as the weights of a layer, get
 * their gradients, too, and `autograd.grad` and `createGraph` work through it.
 * @param fn returns a tensor, or arrays and objects with tensors; the second time it must do the same
 * @returns what fn returns
 * @throws TypeError; in backward an error when fn has not done the same again
 */
export function checkpoint<A extends readonly unknown[], R>(
  fn: (...inputs: A) => R,
  ...inputs: A
): R {
  if (typeof fn !== 'function') throw typeError('checkpoint', 'fn', 'a function', fn)
  if (!isGradEnabled()) return fn(...inputs)
  const random = randomState()
  const collector: Collector = { tensors: new Set() }
  const result = collectInto(collector, () => fn(...inputs))
  if (result instanceof Promise)
    throw typeError('checkpoint', 'fn', 'a function that is not asynchronous', result)
  const needed = [...collector.tensors] as Tensor[]
  for (const tensor of tensorsIn(result))
    if (tensor.requiresGrad && !collector.tensors.has(tensor)) needed.push(tensor)
  if (needed.length === 0) return result
  // What comes back may be an input, or the same tensor twice.
  const outputs: Tensor[] = []
  const own = mapTensors(result, (tensor) => {
    if (tensor.dtype !== 'float32') return tensor
    const handle = tensor.requiresGrad || outputs.includes(tensor) ? tensor.detach() : tensor
    outputs.push(handle)
    return handle
  }) as R
  const shapes = outputs.map(({ shape }) => shape)

  const backward = (gradients: readonly (Tensor | null)[], node: Node): (Tensor | null)[] => {
    const now = randomState()
    setRandomState(random)
    let again: Tensor[]
    try {
      again = tensorsIn(enableGrad(() => fn(...inputs)))
    } finally {
      setRandomState(now)
    }
    checkSame(shapes, again)
    const wanted = [...needed.keys()].filter((i) => node.needs(i))
    const targets = wanted.map((i) => needed[i] as Tensor)
    const found = partialGradients(again, targets, gradients, node.graph)
    if (!node.graph) for (const one of again) if (one.gradFn !== null) one[Symbol.dispose]()
    const results: (Tensor | null)[] = needed.map(() => null)
    wanted.forEach((i, k) => {
      results[i] = found[k] ?? null
    })
    return results
  }
  const given = tensorsIn(inputs).filter((tensor) => !needed.includes(tensor))
  record('checkpoint', needed, outputs, backward, [], 'values', backward, [...needed, ...given])
  return own
}

function checkSame(shapes: readonly (readonly number[])[], again: readonly Tensor[]): void {
  const same = again.length === shapes.length
  if (same && again.every(({ shape }, i) => sameShape(shape, shapes[i] as readonly number[])))
    return
  const text = (list: readonly (readonly number[])[]): string => list.map(formatShape).join(', ')
  throw new Error(
    `[checkpoint] fn: expected the results of the first time again, of shapes ${text(shapes)}, got ${text(again.map(({ shape }) => shape))}`,
  )
}

/**
 * Modules one after the other in `segments` parts, each of which keeps its input alone; the last one is
 * not checkpointed, for it would be computed again at once. As `torch.utils.checkpoint.checkpoint_sequential`.
 * @param functions nn.Sequential, or modules or functions in order
 * @throws TypeError, RangeError
 */
export function checkpointSequential(
  functions: Iterable<Module | ((input: Tensor) => Tensor)>,
  segments: number,
  input: Tensor,
): Tensor {
  const fn = 'checkpointSequential'
  checkIterable(fn, 'functions', functions, 'an nn.Sequential, or modules or functions in order')
  const list = [...functions].map((one, i) => {
    if (one instanceof Module) return one.forward.bind(one) as unknown as (x: Tensor) => Tensor
    if (typeof one !== 'function')
      throw typeError(fn, `functions[${i}]`, 'a module or a function', one)
    return one
  })
  if (list.length === 0) throw rangeError(fn, 'functions', 'at least one', 'none')
  checkInteger(fn, 'segments', segments, 1, list.length)
  if (!(input instanceof Tensor)) throw typeError(fn, 'input', 'a tensor', input)
  const size = Math.floor(list.length / segments)
  const run = (begin: number, end: number) => (x: Tensor) =>
    list.slice(begin, end).reduce((value, one) => one(value), x)
  let value = input
  for (let s = 0; s < segments - 1; s++) value = checkpoint(run(s * size, (s + 1) * size), value)
  return run((segments - 1) * size, list.length)(value)
}

/**
 * `layer.forward(input, state)` in `chunks` stretches of time, each of which keeps its input and its
 * first state alone: memory for long sequences falls nearly by that factor, and every stretch but the
 * last is computed twice. The results are those of one call, but for dropout of every kind, whose masks
 * are drawn for each stretch.
 * @param layer in one direction
 * @param input `(T, N, I)`, or `(N, T, I)` with batchFirst
 * @throws TypeError, RangeError
 */
export function checkpointSteps<State extends Tensor | readonly Tensor[]>(
  layer: RecurrentLayer<State>,
  chunks: number,
  input: Tensor,
  state?: State | null,
): [output: Tensor, state: State] {
  const fn = 'checkpointSteps'
  if (!(layer instanceof RecurrentLayer)) throw typeError(fn, 'layer', 'a recurrent layer', layer)
  if (layer.bidirectional)
    throw rangeError(fn, 'layer', 'one that reads in one direction', 'a bidirectional one')
  if (!(input instanceof Tensor)) throw typeError(fn, 'input', 'a tensor', input)
  const time = layer.batchFirst && input.shape.length === 3 ? 1 : 0
  const steps = input.shape[time] ?? 0
  checkInteger(fn, 'chunks', chunks, 1, Math.max(steps, 1))
  const run = (x: Tensor, s: State | null): [Tensor, State] => layer.forward(x, s)
  const outputs: Tensor[] = []
  let now: State | null = state ?? null
  for (let chunk = 0; chunk < chunks; chunk++) {
    const begin = Math.floor((chunk * steps) / chunks)
    const part = input.slice(time, begin, Math.floor(((chunk + 1) * steps) / chunks))
    const last = chunk === chunks - 1
    const result: [Tensor, State] = last ? run(part, now) : checkpoint(run, part, now)
    outputs.push(result[0])
    now = result[1]
  }
  const output = outputs.length === 1 ? (outputs[0] as Tensor) : cat(outputs, time)
  if (outputs.length > 1) for (const one of outputs) one[Symbol.dispose]()
  return [output, now as State]
}
