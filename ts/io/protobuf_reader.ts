/**
 * Reading protocol buffers, as https://protobuf.dev/programming-guides/encoding/ has them. Nothing is
 * copied: bytes are views, and no length is believed that goes beyond what is there.
 */

/** One field: a whole number, or bytes. */
export interface Field {
  number: number
  /** Of varints as int64; beyond 2⁵³ the nearest number. Of other fields 0. */
  int: number
  /** Of what has a length, or four or eight bytes; of varints none. */
  bytes: Uint8Array
  /** How it is written. */
  kind: 'varint' | 'fixed64' | 'bytes' | 'fixed32'
}

const NONE = new Uint8Array(0)
const KINDS = { 0: 'varint', 1: 'fixed64', 2: 'bytes', 5: 'fixed32' } as const

/** A place in bytes. */
class Cursor {
  at = 0
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  get done(): boolean {
    return this.at >= this.bytes.length
  }

  /** As int64. @throws Error */
  varint(): number {
    let low = 0
    for (let i = 0; i < 7; i++) {
      const byte = this.#byte()
      low += (byte & 127) * 2 ** (7 * i)
      if (byte < 128) return low
    }
    // Longer ones are rare: numbers below zero, and very large ones.
    let value = BigInt(low)
    for (let i = 7; i < 10; i++) {
      const byte = this.#byte()
      value |= BigInt(byte & 127) << BigInt(7 * i)
      if (byte < 128) return Number(BigInt.asIntN(64, value))
    }
    throw new Error('damaged: a number of more than ten bytes')
  }

  take(length: number): Uint8Array {
    if (length < 0 || length > this.bytes.length - this.at)
      throw new Error('damaged or cut short: something in it is longer than the rest')
    this.at += length
    return this.bytes.subarray(this.at - length, this.at)
  }

  #byte(): number {
    const byte = this.bytes[this.at++]
    if (byte === undefined) throw new Error('damaged or cut short: it ends within a number')
    return byte
  }
}

/** The fields of a message, one after the other. @throws Error for what is damaged or cut short */
export function* fieldsOf(message: Uint8Array): Generator<Field, void> {
  const cursor = new Cursor(message)
  while (!cursor.done) {
    const tag = cursor.varint()
    const number = Math.floor(tag / 8)
    const kind = KINDS[(tag % 8) as keyof typeof KINDS]
    if (kind === undefined || number < 1 || number >= 2 ** 29)
      throw new Error('damaged: a field of a kind that there is not')
    if (kind === 'varint') {
      yield { number, kind, int: cursor.varint(), bytes: NONE }
      continue
    }
    const length = kind === 'bytes' ? cursor.varint() : kind === 'fixed64' ? 8 : 4
    yield { number, kind, int: 0, bytes: cursor.take(length) }
  }
}

/** Adds the whole numbers of a field to a list: one, or many that are packed. @throws Error */
export function addInts(list: number[], field: Field, most: number): void {
  if (field.kind === 'varint') {
    list.push(field.int)
  } else {
    const cursor = new Cursor(expectBytes(field))
    while (!cursor.done) {
      list.push(cursor.varint())
      if (list.length > most) break
    }
  }
  if (list.length > most) throw new Error(`it has a list of more than ${most} numbers`)
}

/** The bytes of a field that has a length. @throws Error */
export function expectBytes(field: Field): Uint8Array {
  if (field.kind !== 'bytes') throw new Error(`damaged: field ${field.number} has another type`)
  return field.bytes
}

/** The number of a field of four bytes. @throws Error */
export function expectFloat(field: Field): number {
  if (field.kind !== 'fixed32') throw new Error(`damaged: field ${field.number} has another type`)
  return new DataView(field.bytes.buffer, field.bytes.byteOffset, 4).getFloat32(0, true)
}

/** The whole number of a field. @throws Error */
export function expectInt(field: Field): number {
  if (field.kind !== 'varint') throw new Error(`damaged: field ${field.number} has another type`)
  return field.int
}

/** The text of a field. @throws Error */
export function expectText(field: Field): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(expectBytes(field))
  } catch {
    throw new Error('damaged: a name in it is no text')
  }
}
