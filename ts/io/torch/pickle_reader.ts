/** The bytes of a pickle, instruction by instruction. */

/** Of a whole number, in bytes. */
const MAX_NUMBER_BYTES = 1024

export const damaged = (what: string): Error => new Error(`its pickle is damaged: ${what}`)

/** Reads numbers, texts and bytes. */
export class PickleReader {
  readonly #bytes: Uint8Array
  readonly #data: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  #take(length: number): number {
    const at = this.#at
    if (length > this.#bytes.length - at) throw damaged('it is cut short')
    this.#at += length
    return at
  }

  byte = (): number => this.#data.getUint8(this.#take(1))
  short = (): number => this.#data.getUint16(this.#take(2), true)
  int = (): number => this.#data.getInt32(this.#take(4), true)
  length = (): number => this.#data.getUint32(this.#take(4), true)
  double = (): number => this.#data.getFloat64(this.#take(8))

  long(): number {
    const value = this.#data.getBigUint64(this.#take(8), true)
    if (value > BigInt(this.#bytes.length)) throw damaged('it is cut short')
    return Number(value)
  }

  bytes(length: number): Uint8Array {
    const at = this.#take(length)
    return this.#bytes.subarray(at, at + length)
  }

  text(length: number): string {
    return utf8(this.bytes(length))
  }

  line(): string {
    const end = this.#bytes.indexOf(10, this.#at)
    if (end < 0) throw damaged('it is cut short')
    const text = this.text(end - this.#at)
    this.#at++
    return text
  }

  /** A whole number in two's complement. */
  integer(length: number): number | bigint {
    if (length > MAX_NUMBER_BYTES) throw new Error(`it has a whole number of ${length} bytes`)
    let value = 0n
    for (const byte of Buffer.from(this.bytes(length)).reverse())
      value = (value << 8n) | BigInt(byte)
    value = BigInt.asIntN(8 * length, value)
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : value
  }
}

function utf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw damaged('a text is not UTF-8')
  }
}
