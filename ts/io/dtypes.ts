/** The element types of safetensors files, and what they become here. */
import type { DType, Values } from '../dtype.js'

export type FileDType =
  | 'F64'
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'I64'
  | 'I32'
  | 'I16'
  | 'I8'
  | 'U64'
  | 'U32'
  | 'U16'
  | 'U8'
  | 'BOOL'

interface FileType {
  /** Per element. */
  bytes: number
  /** The type of the tensor. */
  becomes: DType
  /**
   * Values of little-endian bytes, at any alignment; perhaps a view of them.
   * @param first the number of the first one in its tensor
   * @throws Error that names the tensor
   */
  decode(bytes: Uint8Array, name: string, first?: number): Values
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** The bytes where an array of numbers of four bytes may begin. */
function aligned(bytes: Uint8Array): Uint8Array {
  return bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes)
}

function floats(width: number, at: (data: DataView, offset: number) => number): FileType {
  return {
    bytes: width,
    becomes: 'float32',
    decode(bytes) {
      const data = view(bytes)
      const out = new Float32Array(bytes.byteLength / width)
      for (let i = 0; i < out.length; i++) out[i] = at(data, i * width)
      return out
    },
  }
}

function integers(
  width: number,
  at: (data: DataView, offset: number) => number | bigint,
): FileType {
  return {
    bytes: width,
    becomes: 'int32',
    decode(bytes, name, first = 0) {
      const data = view(bytes)
      const out = new Int32Array(bytes.byteLength / width)
      for (let i = 0; i < out.length; i++) {
        const value = at(data, i * width)
        if (value < -(2 ** 31) || value >= 2 ** 31) {
          throw new Error(
            `'${name}' has the value ${value} at element ${first + i}, which int32 cannot hold`,
          )
        }
        out[i] = Number(value)
      }
      return out
    },
  }
}

/** The number whose half-precision bits these are. */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** The upper half of a float32's bits. */
const upper = new DataView(new ArrayBuffer(4))
function brain(bits: number): number {
  upper.setUint32(0, bits << 16)
  return upper.getFloat32(0)
}

export const DTYPES: Record<FileDType, FileType> = {
  F64: floats(8, (data, i) => data.getFloat64(i, true)),
  F32: {
    bytes: 4,
    becomes: 'float32',
    decode(bytes) {
      const { buffer, byteOffset, byteLength } = aligned(bytes)
      return new Float32Array(buffer, byteOffset, byteLength / 4)
    },
  },
  F16: floats(2, (data, i) => half(data.getUint16(i, true))),
  BF16: floats(2, (data, i) => brain(data.getUint16(i, true))),
  I64: integers(8, (data, i) => data.getBigInt64(i, true)),
  I32: {
    bytes: 4,
    becomes: 'int32',
    decode(bytes) {
      const { buffer, byteOffset, byteLength } = aligned(bytes)
      return new Int32Array(buffer, byteOffset, byteLength / 4)
    },
  },
  I16: integers(2, (data, i) => data.getInt16(i, true)),
  I8: integers(1, (data, i) => data.getInt8(i)),
  U64: integers(8, (data, i) => data.getBigUint64(i, true)),
  U32: integers(4, (data, i) => data.getUint32(i, true)),
  U16: integers(2, (data, i) => data.getUint16(i, true)),
  U8: integers(1, (data, i) => data.getUint8(i)),
  BOOL: {
    bytes: 1,
    becomes: 'bool',
    decode(bytes) {
      const out = new Uint8Array(bytes.length)
      for (let i = 0; i < out.length; i++) out[i] = bytes[i] === 0 ? 0 : 1
      return out
    },
  },
}

/** What tensors are written as. */
export const FILE_DTYPES: Record<DType, FileDType> = { float32: 'F32', int32: 'I32', bool: 'BOOL' }
