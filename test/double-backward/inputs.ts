/** What the cases of gradients of gradients are made of. */
import { type Tensor, tensor } from 'fused-rnn'
import { randomTensor } from '../helpers.js'

/** A leaf. */
export const leaf = (values: Tensor): Tensor => {
  const out = values.detach()
  out.requiresGrad = true
  return out
}
export const x = (...shape: number[]): Tensor => randomTensor(shape, 3, { requiresGrad: true })
export const w = (...shape: number[]): Tensor => randomTensor(shape, 4, { requiresGrad: true })
export const positive = (...shape: number[]): Tensor => leaf(randomTensor(shape, 5).abs().add(0.5))
export const inner = (...shape: number[]): Tensor => leaf(randomTensor(shape, 6).mul(0.7))
/** Apart from each other and from whole numbers, in disorder. */
export const apart = (...shape: number[]): Tensor => {
  const n = shape.reduce((a, b) => a * b, 1)
  const values = Array.from({ length: n }, (_, i) => ((i * 7) % n) - n / 2 + 0.3)
  return tensor(Float32Array.from(values), { shape, requiresGrad: true })
}
export const int = (values: number[] | number[][]): Tensor => tensor(values, { dtype: 'int32' })
export const mask = (): Tensor =>
  tensor([
    [true, false, true],
    [false, false, true],
  ])

export type Case = [f: (...inputs: Tensor[]) => Tensor | Tensor[], inputs: () => Tensor[]]
export const on =
  (f: (x: Tensor) => Tensor | Tensor[], input = () => x(2, 3)): Case =>
  [f as Case[0], () => [input()]] // biome-ignore format: one case a line below
export const onTwo = (
  f: (a: Tensor, b: Tensor) => Tensor | Tensor[],
  a = () => x(2, 3),
  b = () => w(3),
): Case => [f as Case[0], () => [a(), b()]]
/** What is linear gets a square around it. */
export const sq = (y: Tensor): Tensor => y.mul(y)
