/**
 * JSON for files from elsewhere: objects become Maps, so that no name (`__proto__`) is
 * special, and a name that stands twice in an object is an error, as is deep nesting.
 */

export type Json = null | boolean | number | string | Json[] | Map<string, Json>

const MAX_DEPTH = 32

/** @throws Error that gives the position */
export function parseJson(text: string): Json {
  let at = 0

  const fail = (expected: string): never => {
    throw new Error(`not JSON: expected ${expected} at character ${at}`)
  }
  const space = (): void => {
    while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++
  }
  const token = (pattern: RegExp): string | null => {
    pattern.lastIndex = at
    const match = pattern.exec(text)
    if (match === null) return null
    at += match[0].length
    return match[0]
  }
  const string = (): string => {
    const quoted = token(STRING) ?? fail('a string')
    try {
      return JSON.parse(quoted) as string
    } catch {
      return fail('a string before')
    }
  }
  /** The members of an object or array, up to its closing bracket. */
  const members = (close: string, member: () => void): void => {
    at++
    space()
    if (text[at] === close) {
      at++
      return
    }
    for (;;) {
      member()
      space()
      const next = text[at++]
      if (next === close) return
      if (next !== ',') {
        at--
        fail(`, or ${close}`)
      }
    }
  }
  const value = (depth: number): Json => {
    if (depth > MAX_DEPTH) fail(`at most ${MAX_DEPTH} levels`)
    space()
    if (text[at] === '{') {
      const object = new Map<string, Json>()
      members('}', () => {
        space()
        const key = string()
        if (object.has(key)) throw new Error(`'${key}' stands twice in the header`)
        space()
        if (text[at++] !== ':') {
          at--
          fail(':')
        }
        object.set(key, value(depth + 1))
      })
      return object
    }
    if (text[at] === '[') {
      const array: Json[] = []
      members(']', () => array.push(value(depth + 1)))
      return array
    }
    if (text[at] === '"') return string()
    const scalar = token(SCALAR) ?? fail('a value')
    return JSON.parse(scalar) as Json
  }

  const result = value(0)
  space()
  if (at !== text.length) fail('the end')
  return result
}

const STRING = /"[^"\\]*(?:\\.[^"\\]*)*"/y
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y
