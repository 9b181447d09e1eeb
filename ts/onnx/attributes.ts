/** The attributes of one operator, as they are asked for. */
import { describe } from '../errors.js'
import type { FileAttribute, FileBody, FileNode, FileTensor } from './read.js'

/** AttributeProto.AttributeType */
const TYPE = {
  float: 1,
  int: 2,
  text: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  texts: 8,
} as const

/** What errors call an operator: node 'LSTM_1' (LSTM). */
export function placeOf(node: FileNode): string {
  const output = node.outputs.find((name) => name !== '') ?? ''
  const name = node.name === '' ? `that gives ${describe(output)}` : describe(node.name)
  return `node ${name} (${node.op.slice(0, 80)})`
}

export class Attributes {
  readonly #node: FileNode

  /** @throws Error for one that is not known */
  constructor(node: FileNode, known: readonly string[]) {
    this.#node = node
    for (const name of node.attributes.keys())
      if (!known.includes(name))
        this.refuse(
          `attribute ${describe(name)} is not known; known: ${known.length === 0 ? 'none' : known.join(', ')}`,
        )
  }

  /** @throws Error always */
  refuse(what: string): never {
    throw new Error(`${placeOf(this.#node)}: ${what}`)
  }

  has(name: string): boolean {
    return this.#node.attributes.has(name)
  }

  int<T extends number | null>(name: string, otherwise: T): number | T {
    return this.#get(name, TYPE.int)?.int ?? otherwise
  }

  /** @throws Error for another number than 0 and 1 */
  flag(name: string, otherwise: boolean): boolean {
    const value = this.int(name, Number(otherwise))
    if (value !== 0 && value !== 1)
      this.refuse(`attribute '${name}': expected 0 or 1, got ${value}`)
    return value === 1
  }

  float(name: string, otherwise: number): number {
    return this.#get(name, TYPE.float)?.float ?? otherwise
  }

  text(name: string, otherwise: string): string {
    return this.#get(name, TYPE.text)?.text ?? otherwise
  }

  tensor(name: string): FileTensor | null {
    return this.#get(name, TYPE.tensor)?.tensor ?? null
  }

  graph(name: string): FileBody | null {
    return this.#get(name, TYPE.graph)?.graph ?? null
  }

  ints(name: string): readonly number[] | null {
    return this.#get(name, TYPE.ints)?.ints ?? null
  }

  floats(name: string): readonly number[] | null {
    return this.#get(name, TYPE.floats)?.floats ?? null
  }

  texts(name: string): readonly string[] | null {
    return this.#get(name, TYPE.texts)?.texts ?? null
  }

  #get(name: string, type: number): FileAttribute | undefined {
    const found = this.#node.attributes.get(name)
    // Old files do not say the type.
    if (found !== undefined && found.type !== type && found.type !== 0)
      this.refuse(`attribute '${name}' has the type ${found.type} where ${type} belongs`)
    return found
  }
}
