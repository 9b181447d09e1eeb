/** Types of elements. */
import { types } from 'node:util'

/** Types of elements. 'bool' takes a byte, 0 or 1; gradients are of float32 alone. */
export type DType = 'float32' | 'int32' | 'bool'

/** Arrays of values as they come from and go to the native side: one class for each type. */
export type Values = Float32Array | Int32Array | Uint8Array

/** From the one that gives way to the one that stays, where two meet. */
export const DTYPES: readonly DType[] = ['bool', 'int32', 'float32']

/** The numbers of the native side; native/include/fused_rnn/dtype.h. */
export const DTypeCode = { float32: 0, int32: 1, bool: 2 } as const

export function isDType(value: unknown): value is DType {
  return (DTYPES as readonly unknown[]).includes(value)
}

/** By the native side's number. */
export function dtypeOfCode(code: number): DType {
  return (Object.keys(DTypeCode) as DType[])[code] as DType
}

export function dtypeOf(values: Values): DType {
  if (types.isFloat32Array(values)) return 'float32'
  return types.isInt32Array(values) ? 'int32' : 'bool'
}

/** Bytes of an element. */
export function widthOf(dtype: DType): number {
  return dtype === 'bool' ? 1 : 4
}

/** The type that two have in common, as in PyTorch: bool gives way to int32, and that to float32. */
export function promoted(a: DType, b: DType): DType {
  return DTYPES.indexOf(a) > DTYPES.indexOf(b) ? a : b
}
