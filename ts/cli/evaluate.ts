/** `fused-rnn evaluate`. */
import { type data, Trainer } from '../index.js'
import { readingBatches, readText } from './corpus.js'
import { UserError } from './errors.js'
import { count, duration, formatPerplexity } from './format.js'
import { loadModel, useMachine, vocabularyOf } from './model.js'
import type { EvaluateOptions } from './options.js'
import { loadTaskModel, type UseOptions } from './task_options.js'
import { evaluateTask } from './use_task.js'

export async function evaluate(
  folder: string,
  file: string,
  options: EvaluateOptions & UseOptions,
): Promise<void> {
  useMachine(options)
  const task = await loadTaskModel(folder)
  if (task !== null) return evaluateTask(task, folder, file, options)
  const model = await loadModel(folder)
  const vocabulary = vocabularyOf(model, folder)
  const text = await readText(file, options.encoding)
  const { unknown, total } = countUnknown(vocabulary, text)
  if (unknown === total) {
    throw new UserError(`nothing in '${file}' is in the model's vocabulary`)
  }
  const batches = readingBatches(vocabulary.encode(text), options.batchSize, options.steps)
  const start = performance.now()
  const { valLoss } = await new Trainer({ progressBar: false }).validate(model, batches)
  const seconds = (performance.now() - start) / 1000
  const lines = [
    `tokens      ${count(total)}${unknown > 0 ? `, ${count(unknown)} of them not in the model's vocabulary` : ''}`,
    `loss        ${(valLoss as number).toFixed(4)} nats per token`,
    `perplexity  ${formatPerplexity(valLoss as number)}`,
    `time        ${duration(seconds)}, ${count(Math.round(total / seconds))} tokens/s`,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}

function countUnknown(
  vocabulary: data.Vocabulary,
  text: string,
): { unknown: number; total: number } {
  let unknown = 0
  let total = 0
  vocabulary.tokenizer.forEach(text, (token) => {
    total++
    if (!vocabulary.has(token)) unknown++
  })
  return { unknown, total }
}
