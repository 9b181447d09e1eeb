/**
 * JSON for files from elsewhere: objects become Maps, so that no name (`__proto__`) is
 * special, and a name that stands twice in an object is an error, as is deep nesting.
 */

export type Json = null | boolean | number | string | Json[] | Map<string, Json>

const MAX_DEPTH = 32
/** In one member of {@link parseMembers}, which is read in one go. */
const MAX_VALUES = 100_000

/** @throws Error that gives the position */
export function parseJson(text: string): Json {
  const parser = new Parser(text)
  const result = parser.value(0)
  parser.end()
  return result
}

/**
 * The members of an object, one by one: a large text need not be read in one go.
 * @throws Error that gives the position
 */
export function* parseMembers(text: string): Generator<[name: string, value: Json], void> {
  const parser = new Parser(text)
  const names = new Set<string>()
  for (const name of parser.names('{', '}', () => parser.name(names))) {
    parser.left = MAX_VALUES
    yield [name, parser.value(1)]
  }
  parser.end()
}

class Parser {
  readonly #text: string
  #at = 0
  /** How many values may still come. */
  left = Infinity

  constructor(text: string) {
    this.#text = text
  }

  #fail(expected: string): never {
    throw new Error(`not JSON: expected ${expected} at character ${this.#at}`)
  }

  #space(): void {
    const text = this.#text
    for (let c = text[this.#at]; c === ' ' || c === '\n' || c === '\r' || c === '\t'; )
      c = text[++this.#at]
  }

  #token(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at
    const match = pattern.exec(this.#text)
    if (match === null) return null
    this.#at += match[0].length
    return match[0]
  }

  #string(): string {
    const quoted = this.#token(STRING) ?? this.#fail('a string')
    try {
      return JSON.parse(quoted) as string
    } catch {
      return this.#fail('a string before')
    }
  }

  /** Takes one character. */
  #expect(character: string): void {
    if (this.#text[this.#at] !== character) this.#fail(character)
    this.#at++
  }

  /** The name of a member, up to its value. */
  name(before: Set<string>): string {
    this.#space()
    const name = this.#string()
    if (before.has(name)) throw new Error(`'${name}' stands twice in the header`)
    before.add(name)
    this.#space()
    this.#expect(':')
    return name
  }

  /** What `member` gives for each member; the values after it are the caller's to take. */
  *names<T>(open: string, close: string, member: () => T): Generator<T, void> {
    this.#expect(open)
    this.#space()
    if (this.#text[this.#at] === close) {
      this.#at++
      return
    }
    for (;;) {
      yield member()
      this.#space()
      const next = this.#text[this.#at++]
      if (next === close) return
      if (next !== ',') {
        this.#at--
        this.#fail(`, or ${close}`)
      }
    }
  }

  value(depth: number): Json {
    if (depth > MAX_DEPTH) this.#fail(`at most ${MAX_DEPTH} levels`)
    if (--this.left < 0) this.#fail(`at most ${MAX_VALUES} values in a member, which ended before`)
    this.#space()
    const first = this.#text[this.#at]
    if (first === '{') {
      const object = new Map<string, Json>()
      const names = new Set<string>()
      for (const name of this.names('{', '}', () => this.name(names)))
        object.set(name, this.value(depth + 1))
      return object
    }
    if (first === '[') {
      const array: Json[] = []
      for (const value of this.names('[', ']', () => this.value(depth + 1))) array.push(value)
      return array
    }
    if (first === '"') return this.#string()
    const scalar = this.#token(SCALAR) ?? this.#fail('a value')
    return JSON.parse(scalar) as Json
  }

  end(): void {
    this.#space()
    if (this.#at !== this.#text.length) this.#fail('the end')
  }
}

const STRING = /"[^"\\]*(?:\\.[^"\\]*)*"/y
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y
