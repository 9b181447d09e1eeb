/** Changes of bytes, as fuzzers make them. */

/** Whole numbers below a limit, from a seed. */
export type Random = (limit: number) => number

/** xorshift32 */
export function randomFrom(seed: number): Random {
  let state = seed | 0 || 1
  return (limit) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return Math.floor(((state >>> 0) / 2 ** 32) * limit)
  }
}

const NUMBERS = [0, 1, -1, 7, 8, 16, 127, 128, 255, 256, 2 ** 15, 2 ** 16, 2 ** 31 - 1, -(2 ** 31)]
/** As text: what a number or a value in JSON could be replaced by. */
const TEXTS = [
  ...['0', '1', '-1', '2', '1e999', '-0', '0.5', '2147483648', '4294967296', '9007199254740993'],
  ...['18446744073709551616', 'null', 'true', '[]', '{}', '""', '"a"', '[1]', '{"a":1}', ','],
  ...['[', ']', '{', '}', ':', '"', '\\', '\\u0000', '\\ud800', '"__proto__"', '"constructor"'],
  ...['NaN', 'Infinity', '\u0000', '\ufeff', '[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[['],
]

const insert = (bytes: Buffer, at: number, what: Uint8Array): Buffer =>
  Buffer.concat([bytes.subarray(0, at), what, bytes.subarray(at)])
const replaced = (bytes: Buffer, from: number, to: number, what: string): Buffer =>
  Buffer.concat([bytes.subarray(0, from), Buffer.from(what), bytes.subarray(to)])

/** Where a number or a word of text is, or null. */
function word(bytes: Buffer, random: Random): [number, number] | null {
  const isWord = (i: number): boolean => /[\w.+-]/.test(String.fromCharCode(bytes[i] ?? 0))
  const from = random(bytes.length)
  for (let i = from; i < Math.min(bytes.length, from + 200); i++) {
    if (!isWord(i)) continue
    let end = i
    while (end < bytes.length && isWord(end)) end++
    return [i, end]
  }
  return null
}

type Change = (bytes: Buffer, random: Random, others: readonly Uint8Array[]) => Buffer

const pick = <T>(list: readonly T[], random: Random): T => list[random(list.length)] as T

const CHANGES: Change[] = [
  (bytes, random) => {
    const i = random(bytes.length)
    bytes[i] = (bytes[i] ?? 0) ^ (1 << random(8))
    return bytes
  },
  (bytes, random) => {
    bytes[random(bytes.length)] = random(256)
    return bytes
  },
  (bytes, random) =>
    insert(bytes, random(bytes.length + 1), Buffer.alloc(1 + random(9), random(256))),
  (bytes, random) => {
    const from = random(bytes.length)
    return replaced(bytes, from, from + 1 + random(16), '')
  },
  (bytes, random) => bytes.subarray(0, random(bytes.length + 1)),
  (bytes, random) => {
    // A piece twice.
    const from = random(bytes.length)
    return insert(bytes, random(bytes.length + 1), bytes.subarray(from, from + 1 + random(64)))
  },
  (bytes, random) => {
    const [width, write] = pick(
      [
        [1, (at: number, n: number) => bytes.writeInt8((n << 24) >> 24, at)],
        [2, (at: number, n: number) => bytes.writeInt16LE((n << 16) >> 16, at)],
        [4, (at: number, n: number) => bytes.writeInt32LE(n, at)],
        [8, (at: number, n: number) => bytes.writeBigInt64LE(BigInt(n), at)],
      ] as const,
      random,
    )
    if (bytes.length >= width) write(random(bytes.length - width + 1), pick(NUMBERS, random))
    return bytes
  },
  (bytes, random) => insert(bytes, random(bytes.length + 1), Buffer.from(pick(TEXTS, random))),
  (bytes, random) => {
    const found = word(bytes, random)
    return found === null ? bytes : replaced(bytes, ...found, pick(TEXTS, random))
  },
  (bytes, random) => {
    // A word in the place of another.
    const [a, b] = [word(bytes, random), word(bytes, random)]
    return a === null || b === null ? bytes : replaced(bytes, ...a, bytes.toString('latin1', ...b))
  },
  (bytes, random, others) => {
    const other = pick(others, random)
    const from = random(other.length)
    return Buffer.concat([
      bytes.subarray(0, random(bytes.length + 1)),
      other.subarray(from, from + 1 + random(other.length)),
    ])
  },
]

/** @param others of which pieces may be taken @param most bytes that come out */
export function mutated(
  bytes: Uint8Array,
  random: Random,
  others: readonly Uint8Array[],
  most: number,
): Buffer {
  let result: Buffer = Buffer.from(bytes)
  for (let n = 1 + random(1 << random(4)); n > 0; n--) {
    if (result.length === 0) result = Buffer.alloc(1)
    result = Buffer.from(pick(CHANGES, random)(result, random, others)).subarray(0, most)
  }
  return result
}
