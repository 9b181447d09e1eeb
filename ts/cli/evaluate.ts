/** `fused-rnn evaluate`. */
import { Trainer } from '../index.js'
import { readingBatches } from './corpus.js'
import { UserError } from './errors.js'
import { count, duration, formatPerplexity } from './format.js'
import { loadModel, useMachine, vocabularyOf } from './model.js'
import type { EvaluateOptions } from './options.js'
import { nameOf, readTokens, renumber, STDIN } from './reading.js'
import { print, printJson } from './report.js'
import { loadTaskModel, type UseOptions } from './task_options.js'
import { evaluateTask } from './use_task.js'

export async function evaluate(
  folder: string,
  files: readonly string[],
  options: EvaluateOptions & UseOptions,
): Promise<void> {
  if (files.filter((file) => file === STDIN).length > 1)
    throw new UserError('standard input (-) can be read once only')
  useMachine(options)
  const task = await loadTaskModel(folder)
  if (task !== null) {
    if (files.length > 1) throw new UserError(`the model in '${folder}' is tried on one table`)
    return evaluateTask(task, folder, files[0] as string, options)
  }
  const model = await loadModel(folder)
  const vocabulary = vocabularyOf(model, folder)
  const tokens = await readTokens(files, vocabulary.tokenizer, options)
  const { unknown } = renumber(tokens, vocabulary)
  const { numbers } = tokens
  const total = numbers.length
  if (unknown === total) {
    throw new UserError(`nothing in ${files.map(nameOf).join(', ')} is in the model's vocabulary`)
  }
  const batches = readingBatches(numbers, options.batchSize, options.steps)
  const start = performance.now()
  const { valLoss } = await new Trainer({ progressBar: false }).validate(model, batches)
  const seconds = (performance.now() - start) / 1000
  const loss = valLoss as number
  if (options.json) {
    const perplexity = Math.exp(loss)
    printJson({
      tokens: total,
      unknown,
      loss,
      perplexity,
      seconds,
      tokensPerSecond: total / seconds,
    })
    return
  }
  print(
    [
      `tokens      ${count(total)}${unknown > 0 ? `, ${count(unknown)} of them not in the model's vocabulary` : ''}`,
      `loss        ${loss.toFixed(4)} nats per token`,
      `perplexity  ${formatPerplexity(loss)}`,
      `time        ${duration(seconds)}, ${count(Math.round(total / seconds))} tokens/s`,
    ].join('\n'),
  )
}
