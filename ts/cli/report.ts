/** What a command prints: words for people, or lines of JSON. */
import type { Callback } from '../index.js'

export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

/** One line; numbers that JSON does not have become null. */
export function printJson(value: Record<string, unknown>): void {
  print(JSON.stringify(value))
}

/** A line of JSON for each epoch. */
export const epochLines: Callback = {
  onTrainEpochEnd(trainer) {
    const { currentEpoch, globalStep, callbackMetrics, optimizer, progress } = trainer
    printJson({
      event: 'epoch',
      epoch: currentEpoch + 1,
      globalStep,
      ...callbackMetrics,
      lr: optimizer?.lr,
      tokensPerSecond: Math.round(progress.tokensPerSecond),
    })
  },
}
