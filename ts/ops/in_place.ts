/** What changes values in place: each tells the tape, which refuses to use them afterwards. */
import { type Buffer, binding } from '../binding.js'
import type { Tensor } from '../tensor.js'

/** One value everywhere. @param fn the public function, which errors of backward name */
export function fillInto(fn: string, to: Tensor, value: number): void {
  binding.fillInto(to.buffer, value)
  to.changed(fn)
}

/** Values of the same number and type. */
export function copyInto(fn: string, to: Tensor, from: Buffer): void {
  binding.copyInto(to.buffer, from)
  to.changed(fn)
}

/** See `random` in the binding. */
export function randomInto(
  fn: string,
  to: Tensor,
  kind: number,
  a: number,
  b: number,
  { seed, counter }: { seed: number; counter: number },
): void {
  binding.randomInto(to.buffer, kind, a, b, seed, counter)
  to.changed(fn)
}
