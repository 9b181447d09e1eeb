/** Failures of the queue in the words of the model that is trained. */
import { Embedding } from '../nn/embedding.js'
import type { Module } from '../nn/module.js'

/** Of an index that an embedding does not have. */
const INDEX = /^\[(nn\.Embedding\((\d+), (\d+)\))\] (index\[\d+\]: .*)$/

/** The error to tell a user: an embedding with its name in the model, where that is the only one of its sizes. */
export function explainIndex(error: unknown, model: Module): unknown {
  const match = error instanceof Error ? INDEX.exec(error.message) : null
  if (match === null) return error
  const [, type, rows, width, what] = match
  const names = model
    .namedModules()
    .filter(
      ([, module]) =>
        module instanceof Embedding &&
        module.numEmbeddings === Number(rows) &&
        module.embeddingDim === Number(width),
    )
    .map(([name]) => name)
  if (names.length === 0 || names[0] === '') return error
  return new RangeError(`[Trainer] ${names.join(' or ')}, ${type}: ${what}`, { cause: error })
}
