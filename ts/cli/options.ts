/** The options of the commands: how their values are read, and what they are when not given. */
import { InvalidArgumentError } from 'commander'
import { checkEncoding } from '../data/encoding.js'
import type { CellName } from '../models/index.js'

/** What `train` understands; the names are those of the options. */
export interface TrainOptions {
  cell: CellName
  /** 0: one-hot vectors instead of an embedding. */
  embedding: number
  hidden: number
  layers: number
  dropout: number
  tie?: boolean

  /** Of the text files; none: what their first bytes say, else UTF-8. */
  encoding?: string
  level: 'char' | 'word'
  clean?: boolean
  keepCr?: boolean
  minFrequency: number
  valid?: string
  validRatio: number

  batchSize: number
  steps: number
  sampling: 'consecutive' | 'random'
  epochs: number

  optimizer: 'sgd' | 'adam' | 'adamw'
  lr?: number
  momentum: number
  weightDecay?: number
  clip: number
  clipValue?: number

  schedule: 'none' | 'step' | 'exponential' | 'plateau'
  gamma: number
  stepSize: number
  patience: number

  seed: number
  threads?: number
  device: string
  precision: '32-true' | 'bf16' | 'bf16-mixed'
  /** Seconds. */
  timeout: number

  out: string
  overwrite?: boolean
  resume?: string
  checkpointEvery: number
  sampleLength: number
  /** A file for a Chrome trace of the first steps. */
  trace?: string
  demo?: boolean
}

export interface GenerateOptions {
  prefix: string
  length: number
  temperature: number
  topK?: number
  topP?: number
  repetitionPenalty?: number
  stop?: string[]
  seed?: number
  threads?: number
  device: string
}

export interface BuildOptions {
  cuda: string
}

export interface EvaluateOptions {
  encoding?: string
  batchSize: number
  steps: number
  threads?: number
  device: string
}

/** Reads the name of an encoding. */
export function encoding(text: string): string {
  try {
    return checkEncoding('encoding', text)
  } catch {
    throw new InvalidArgumentError(
      'Expected utf-8, latin1, windows-1252, utf-16le, utf-16be or another that TextDecoder knows.',
    )
  }
}

/** Reads a whole number in [min, max] from an option's text. */
export function whole(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN
    if (!(value >= min && value <= max)) {
      const open = max === Number.MAX_SAFE_INTEGER && !(value > max)
      const range = open ? `of at least ${min}` : `between ${min} and ${max}`
      throw new InvalidArgumentError(`Expected a whole number ${range}.`)
    }
    return value
  }
}

/** Reads a number in [min, max], or in (min, max] when `open`. */
export function number(min: number, max: number, open = false): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (!Number.isFinite(value) || value < min || value > max || (open && value === min)) {
      const least = open ? `above ${min}` : `of at least ${min}`
      const range =
        max === Infinity ? least : `${open ? 'above' : 'from'} ${min} ${open ? 'up ' : ''}to ${max}`
      throw new InvalidArgumentError(`Expected a number ${range}.`)
    }
    return value
  }
}
