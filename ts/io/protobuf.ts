/** Writing protocol buffers, as https://protobuf.dev/programming-guides/encoding/ has them. */

const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const

/** A message: fields in the order of the calls. Bytes are kept, not copied. */
export class Message {
  /** How many bytes it has. */
  length = 0
  readonly #parts: Uint8Array[] = []

  /** int32, int64, uint, bool and enum. @param value a whole number */
  int(field: number, value: number): this {
    return this.#tag(field, WIRE.varint).#add(varint(value))
  }

  float(field: number, value: number): this {
    const bytes = Buffer.alloc(4)
    bytes.writeFloatLE(value)
    return this.#tag(field, WIRE.fixed32).#add(bytes)
  }

  double(field: number, value: number): this {
    const bytes = Buffer.alloc(8)
    bytes.writeDoubleLE(value)
    return this.#tag(field, WIRE.fixed64).#add(bytes)
  }

  bytes(field: number, value: Uint8Array): this {
    return this.#tag(field, WIRE.bytes).#add(varint(value.length)).#add(value)
  }

  string(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value))
  }

  message(field: number, value: Message): this {
    this.#tag(field, WIRE.bytes).#add(varint(value.length))
    for (const part of value.#parts) this.#add(part)
    return this
  }

  /** All of it, in pieces; to be read only. */
  get parts(): readonly Uint8Array[] {
    return this.#parts
  }

  /** All of it, in one piece. */
  toBytes(): Uint8Array {
    return Buffer.concat(this.#parts, this.length)
  }

  #tag(field: number, wire: number): this {
    return this.#add(varint(field * 8 + wire))
  }

  #add(part: Uint8Array): this {
    this.#parts.push(part)
    this.length += part.length
    return this
  }
}

/** Seven bits a byte, the lowest first; below zero as 64 bits of two's complement. */
function varint(value: number): Uint8Array {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, BigInt(value))
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128)
    rest >>= 7n
  }
  bytes.push(Number(rest))
  return Uint8Array.from(bytes)
}
