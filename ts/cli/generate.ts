/** `fused-rnn generate`. */
import { loadModel, useMachine, vocabularyOf, write } from './model.js'
import type { GenerateOptions } from './options.js'

export async function generate(folder: string, options: GenerateOptions): Promise<void> {
  useMachine(options)
  const model = await loadModel(folder)
  const vocabulary = vocabularyOf(model, folder)
  const { prefix, length, temperature, topK, topP, repetitionPenalty, stop, seed } = options
  const pieces = write(model, vocabulary, prefix, {
    length,
    temperature,
    ...(topK !== undefined && { topK }),
    ...(topP !== undefined && { topP }),
    ...(repetitionPenalty !== undefined && { repetitionPenalty }),
    ...(stop !== undefined && { stop }),
    ...(seed !== undefined && { seed }),
  })
  for await (const piece of pieces) process.stdout.write(piece)
  process.stdout.write('\n')
}
