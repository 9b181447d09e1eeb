/** What a fit's products are computed in: settings of `backends` for as long as it runs. */
import { backends } from '../backends.js'

/** Lightning's names. */
export const PRECISIONS = ['32-true', 'bf16-mixed'] as const
export type TrainerPrecision = (typeof PRECISIONS)[number]

const settings = () => [
  backends.cpu.matmul,
  backends.cpu.rnn,
  backends.cuda.matmul,
  backends.cuda.rnn,
]

/** What the trainers that run now have set, how many they are, and what was there before. */
let held: { precision: TrainerPrecision; count: number; giveBack: () => void } | null = null

/**
 * 'bf16-mixed': products of bfloat16 on both devices. '32-true': none; a GPU's TF32 stays. null:
 * what `backends` says.
 *
 * @returns gives the settings back; those of the first trainer, when the last one has ended
 * @throws TypeError while a trainer with the other precision runs
 */
export function holdPrecision(fn: string, precision: TrainerPrecision | null): () => void {
  if (precision === null) return () => {}
  if (held !== null && held.precision !== precision)
    throw new TypeError(
      `[${fn}] precision: a trainer with '${held.precision}' is running, got '${precision}': the setting is the process's, so wait for that one to end`,
    )
  if (held === null) {
    const all = settings()
    const before = all.map((products) => products.fp32Precision)
    for (const products of all) {
      if (precision === 'bf16-mixed') products.fp32Precision = 'bf16'
      else if (products.fp32Precision === 'bf16') products.fp32Precision = 'ieee'
    }
    const giveBack = (): void => {
      for (const [i, products] of all.entries())
        products.fp32Precision = before[i] as 'ieee' | 'bf16'
    }
    held = { precision, count: 0, giveBack }
  }
  const mine = held
  mine.count++
  return () => {
    if (--mine.count > 0) return
    held = null
    mine.giveBack()
  }
}

/** What products on this device are computed in now. */
export function precisionOn(device: string | null): TrainerPrecision {
  const { matmul, rnn } = device?.startsWith('cuda') ? backends.cuda : backends.cpu
  const bf16 = [matmul, rnn].some(({ fp32Precision }) => fp32Precision === 'bf16')
  return bf16 ? 'bf16-mixed' : '32-true'
}

/** Warns when a fit goes on in another precision than it began in. @param before null: not known */
export function tellOfChange(
  path: string,
  before: TrainerPrecision | null,
  device: string | null,
): void {
  const now = precisionOn(device)
  if (before === null || before === now) return
  process.emitWarning(
    `[fit] ckptPath: '${path}' has been trained in precision '${before}' and goes on in '${now}'; give the Trainer precision: '${before}' to go on as it was`,
  )
}
