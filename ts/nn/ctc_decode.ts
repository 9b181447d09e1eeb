/** What a network that was trained with CTC has recognised. */
import {
  checkInteger,
  checkIterable,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { checkFloat } from '../ops/common.js'
import type { Tensor } from '../tensor.js'

/** What {@link ctcDecode} takes. */
export interface CTCDecodeOptions {
  /** The class that stands for nothing. Default 0. */
  blank?: number
  /** 1: the likeliest class of each step; more: prefix beam search. Default 1. */
  beamSize?: number
}

/** A sequence that was recognised. */
export interface CTCDecoded {
  tokens: number[]
  /** The logarithm of its probability: of the one way (greedy), or of all ways that were followed. */
  score: number
}

/**
 * Labels of log probabilities as a network gives them that was trained with CTC (Graves et al. 2006):
 * repeated classes once, without blanks. With a beam, ways that give the same labels are added up
 * (prefix beam search, Hannun et al. 2014).
 * @param logProbs (T, N, C), as for `ctcLoss`
 * @param inputLengths of each sequence, at most T. Default: T
 * @throws TypeError, RangeError at the call
 */
export function ctcDecode(
  logProbs: Tensor,
  inputLengths?: ArrayLike<number> | null,
  options: CTCDecodeOptions = {},
): Promise<CTCDecoded[]> {
  const fn = 'ctcDecode'
  checkFloat(fn, 'logProbs', logProbs)
  checkOptions(fn, options, ['blank', 'beamSize'])
  const { shape } = logProbs
  if (shape.length !== 3 || shape[2] === 0)
    throw rangeError(fn, 'logProbs', 'shape (T, N, C)', formatShape(shape))
  const [time, batch, classes] = shape as readonly [number, number, number]
  const blank = checkInteger(fn, 'blank', options.blank ?? 0, 0, classes - 1)
  const beamSize = checkInteger(fn, 'beamSize', options.beamSize ?? 1, 1, 2 ** 16)
  const given = inputLengths ?? new Array<number>(batch).fill(time)
  if (!Array.isArray(given) && !(ArrayBuffer.isView(given) && !(given instanceof DataView)))
    throw typeError(fn, 'inputLengths', 'an array of lengths', given)
  checkIterable(fn, 'inputLengths', given, 'an array of lengths')
  const lengths = Array.from(given as ArrayLike<unknown>, (length, i) =>
    checkInteger(fn, `inputLengths[${i}]`, length, 0, time),
  )
  if (lengths.length !== batch)
    throw rangeError(fn, 'inputLengths', `${batch} lengths`, String(lengths.length))
  return logProbs.data().then((data) =>
    lengths.map((length, n) => {
      const at = (t: number, c: number): number => data[(t * batch + n) * classes + c] as number
      return beamSize === 1
        ? greedy(at, length, classes, blank)
        : prefixBeam(at, length, classes, blank, beamSize)
    }),
  )
}

type At = (t: number, c: number) => number

function greedy(at: At, length: number, classes: number, blank: number): CTCDecoded {
  const tokens: number[] = []
  let [score, before] = [0, blank]
  for (let t = 0; t < length; t++) {
    let best = 0
    for (let c = 1; c < classes; c++) if (at(t, c) > at(t, best)) best = c
    score += at(t, best)
    if (best !== blank && best !== before) tokens.push(best)
    before = best
  }
  return { tokens, score }
}

/** Labels so far, and the probabilities of the ways to them that end with a blank, or not. */
interface Prefix {
  tokens: number[]
  blank: number
  label: number
}

function plus(a: number, b: number): number {
  if (a === -Infinity) return b
  if (b === -Infinity) return a
  return Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)))
}

function prefixBeam(
  at: At,
  length: number,
  classes: number,
  blank: number,
  beamSize: number,
): CTCDecoded {
  let beam: Prefix[] = [{ tokens: [], blank: 0, label: -Infinity }]
  for (let t = 0; t < length; t++) {
    const next = new Map<string, Prefix>()
    const of = (tokens: number[]): Prefix => {
      const key = tokens.join()
      const found = next.get(key)
      if (found !== undefined) return found
      const made = { tokens, blank: -Infinity, label: -Infinity }
      next.set(key, made)
      return made
    }
    for (const prefix of beam) {
      const both = plus(prefix.blank, prefix.label)
      const last = prefix.tokens.at(-1)
      const same = of(prefix.tokens)
      same.blank = plus(same.blank, both + at(t, blank))
      for (let c = 0; c < classes; c++) {
        if (c === blank) continue
        const p = at(t, c)
        if (c === last) same.label = plus(same.label, prefix.label + p)
        const longer = of([...prefix.tokens, c])
        longer.label = plus(longer.label, (c === last ? prefix.blank : both) + p)
      }
    }
    const order = [...next.values()].sort((a, b) => plus(b.blank, b.label) - plus(a.blank, a.label))
    beam = order.slice(0, beamSize)
  }
  const [best] = beam as [Prefix]
  return { tokens: best.tokens, score: plus(best.blank, best.label) }
}
