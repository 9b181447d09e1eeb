/** What a workload costs, whatever runs it: tokens, useful operations, products, memory. */
import type { Workload } from './workloads.js'

const GATES = { rnn: 1, gru: 3, lstm: 4 } as const

/** Tokens that one step sees; padding is not a token. */
export function tokensPerStep(w: Workload): number {
  return w.lengths ? w.lengths.reduce((a, b) => a + b, 0) : w.batch * w.steps
}

/** A product [m, k] · [k, n], done `times` times in a step. */
export interface Product {
  /** What it is for. */
  name: 'input' | 'recurrent' | 'output'
  m: number
  k: number
  n: number
  times: number
}

/** The forward products of a step. One-hot input is a row lookup, so it needs none. */
export function forwardProducts(w: Workload): Product[] {
  const tokens = tokensPerStep(w)
  const gates = (w.variant?.gates ?? GATES[w.cell]) * w.hidden
  const directions = w.bidirectional ? 2 : 1
  const networks = w.kind === 'seq2seq' ? 2 : 1
  const first = w.kind === 'tagger' ? w.vocabulary : w.embedding
  const products: Product[] = []
  for (let layer = 0; layer < w.layers; layer++) {
    const inputs = layer === 0 ? first : directions * w.hidden
    const times = directions * networks
    if (inputs > 0) products.push({ name: 'input', m: tokens, k: inputs, n: gates, times })
    if (w.variant?.matrix !== false)
      products.push({ name: 'recurrent', m: tokens, k: w.hidden, n: gates, times })
  }
  const outputs = w.kind === 'layer' ? 0 : w.kind === 'tagger' ? 1 : w.vocabulary
  if (outputs > 0) {
    products.push({ name: 'output', m: tokens, k: directions * w.hidden, n: outputs, times: 1 })
  }
  return products
}

/** Useful floating-point operations of one forward pass: two per weight and token. */
export function forwardFlops(w: Workload): number {
  return forwardProducts(w).reduce((sum, { m, k, n, times }) => sum + 2 * m * k * n * times, 0)
}

/** Useful floating-point operations of one training step: backward is twice forward. */
export function trainingFlops(w: Workload): number {
  return 3 * forwardFlops(w)
}

/**
 * Roughly what a step keeps in memory, in bytes, in a framework that saves what every operation of
 * a gate made: parameters and gradients, inputs and outputs, about four arrays the size of the gates.
 */
export function memoryEstimate(w: Workload): number {
  const tokens = w.batch * w.steps
  let floats = 0
  for (const { name, k, n, times } of forwardProducts(w)) {
    floats += times * (2 * k * n + tokens * (k + (name === 'recurrent' ? 4 * n : n)))
  }
  if (w.embedding === 0 && w.kind === 'lm') floats += tokens * w.vocabulary
  return 4 * floats
}

/**
 * What a step needs at the very least, in bytes: weights and their gradients, the input, the gates and
 * outputs of every layer, the logits; forward alone, the weights and the largest layer's.
 */
export function leastMemory(w: Workload, training: boolean): number {
  const tokens = tokensPerStep(w)
  const products = forwardProducts(w)
  const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0)
  const weights = sum(products.map(({ k, n, times }) => times * k * n))
  const layers = products
    .filter(({ name }) => name === 'recurrent')
    .map(({ k, n, times }) => times * tokens * (k + n))
  const input = tokens * w.embedding
  const logits = w.kind === 'layer' ? 0 : tokens * w.vocabulary
  const kept = training ? sum(layers) + logits : Math.max(...layers, logits)
  return 4 * (weights * (training ? 2 : 1) + input + kept)
}

/** What a row may cost before the benchmark leaves it out. */
export interface Budget {
  gflop: number
  bytes: number
}

/** A step of some seconds on two cores, and a peer beside us in 24 GB. */
export const defaultBudget: Budget = { gflop: 550, bytes: 6 * 2 ** 30 }

/** Why a workload is over the budget, or null. */
export function overBudget(w: Workload, flops: number, budget: Budget): string | null {
  const gflop = flops / 1e9
  if (gflop > budget.gflop) {
    return `${gflop.toFixed(0)} GFLOP a step, over the budget of ${budget.gflop} (--budget)`
  }
  const bytes = memoryEstimate(w)
  if (bytes > budget.bytes) {
    const gib = (n: number) => (n / 2 ** 30).toFixed(1)
    return `about ${gib(bytes)} GiB a step, over ${gib(budget.bytes)} GiB`
  }
  return null
}
