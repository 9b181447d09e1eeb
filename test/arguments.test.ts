/** Arguments too many are refused by everything that is exported; scripts/arguments.mjs does it. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import * as library from 'fused-rnn'
import { nn, ones, tensor } from 'fused-rnn'
import { recipes } from './properties/recipes.js'

/** What anybody but the user calls, with arguments of its own. */
const PROTOCOL = /\.(toJSON|finalize|on[A-Z]\w*)$/
/** What only classes and their bases call, by the types: 'LSTM.run'. */
const PROTECTED = new Set(
  declarations().flatMap((types) =>
    types
      .split(/^(?=(?:export |declare |abstract )*class )/m)
      .flatMap((part) =>
        Array.from(
          part.matchAll(/^ +(?:protected|private) (?:static |abstract )*(\w+)[(;<]/gm),
          ([, method]) => `${/class (\w+)/.exec(part)?.[1]}.${method}`,
        ),
      ),
  ),
)
/** What is no part of the public surface. */
const INTERNAL =
  /^Tensor\.(wrap|ofRows|share|dropGrad|attach|viewAs|moveTo)$|^nn\.init\.uniformParameter$|^data\.IndexedBatches\.ofPart$|LRScheduler\.(begin|restart)$/
/** What the tape calls. */
const OF_THE_TAPE = /^Tensor\.(changed|over)$/
/** Any number of tensors; classes that users extend. */
const FUNCTIONS =
  /^(autograd\.(profiler\.profile|profiler\.EventAverages|Function|FunctionContext)(\.(forward|backward|apply|saveForBackward|markNonDifferentiable))?|utils\.checkpoint\.checkpoint)$/
/** Any number of arguments: modules one after the other; what the model in it takes; operands. */
const ANY_NUMBER =
  /^(nn\.(Sequential|parallel\.DistributedDataParallel\.forward)|optim\.swaUtils\.AveragedModel\.forward|einsum|Tensor\.at)$/

const sourceOf = (f: unknown): string => Function.prototype.toString.call(f)
const left = (name: string): boolean =>
  PROTECTED.has(name.split('.').slice(-2).join('.')) ||
  [PROTOCOL, INTERNAL, OF_THE_TAPE, FUNCTIONS, ANY_NUMBER].some((rule) => rule.test(name))

/** The types of all modules. */
function declarations(): string[] {
  const dist = dirname(fileURLToPath(import.meta.resolve('fused-rnn')))
  return readdirSync(dist, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.d.ts') && !file.startsWith('types'))
    .map((file) => readFileSync(join(dist, file), 'utf8'))
}

/** The text of a class's own constructor, or null. */
function constructorOf(source: string): string | null {
  const at = source.search(/^\s*constructor\s*\(/m)
  const here = at < 0 ? source.indexOf('constructor(') : at
  return here < 0 ? null : source.slice(here, here + 1000)
}

function countsArguments(f: unknown): boolean {
  const source = sourceOf(f)
  if (!source.startsWith('class')) return source.includes('refuseArguments(')
  const own = constructorOf(source)
  if (own !== null) return own.includes('refuseArguments(') || own.includes('(...')
  const base = Object.getPrototypeOf(f)
  return base !== Function.prototype && countsArguments(base)
}

/** Every function, class and method, by name. */
function all(): Map<string, unknown> {
  const found = new Map<string, unknown>()
  const visit = (value: unknown, name: string): void => {
    if (typeof value === 'object' && value !== null)
      for (const [key, inner] of Object.entries(value)) visit(inner, name ? `${name}.${key}` : key)
    if (typeof value !== 'function') return
    found.set(name, value)
    if (!sourceOf(value).startsWith('class')) return
    for (const object of [value, value.prototype])
      for (const [key, { value: member }] of Object.entries(
        Object.getOwnPropertyDescriptors(object),
      ))
        if (typeof member === 'function' && key !== 'constructor')
          found.set(`${name}.${key}`, member)
  }
  visit(library, '')
  return found
}

test('everything that is exported counts its arguments', (t) => {
  const names = [...all()].filter(([name, f]) => !left(name) && !countsArguments(f))
  t.deepEqual(
    names.map(([name]) => name),
    [],
  )
  t.true(all().size > 250)
})

/** Whether a recipe hands on all it gets. */
const open = (f: unknown): boolean =>
  /^\(\.\.\.\w+\) =>/.test(sourceOf(f)) || !/^[^{]*=>/.test(sourceOf(f))

test('a right call with one argument too many is refused', async (t) => {
  let refused = 0
  for (const [name, recipe] of Object.entries(recipes)) {
    const [f, args] = recipe()
    if (left(name) || !open(f) || name.endsWith('=') || name === 'nn.Module.toString') continue
    const call = async (): Promise<unknown> => {
      // A place for every parameter that the recipe leaves out, and one thing more.
      const places: unknown[] = [...args, ...new Array(12 - args.length).fill(undefined)]
      const result: unknown = (f as (...all: unknown[]) => unknown)(...places, 7)
      const { next } = Object(result) as Partial<Iterator<unknown>>
      return typeof next === 'function' ? next.call(result) : await result
    }
    await t.throwsAsync(
      call,
      { instanceOf: TypeError, message: /^\[[\w.]+\] arguments: expected .*, got 13$|; / },
      name,
    )
    refused++
  }
  t.true(refused > 200)
})

test('the message names the function, its parameters and the way', (t) => {
  const said = (call: () => unknown): string => t.throws(call, { instanceOf: TypeError }).message
  const x = tensor([[1, 2]])
  const any = x as unknown as Record<string, (...args: unknown[]) => unknown>
  t.is(
    said(() => any.flip?.(0, 1)),
    '[flip] arguments: expected at most 1 (dims), got 2; several dimensions go into one array: flip([0, 1])',
  )
  t.regex(
    said(() => [x, x].map(nn.functional.sigmoid as never)),
    /^\[sigmoid\] arguments: .*, got 3; an array's map passes the index/,
  )
  t.regex(
    said(() => new nn.GRUCell(2, 3).forward(x, ...([null, { reset: x }] as unknown as []))),
    /^\[GRUCell.forward\] arguments: expected at most 2 .*, got 3; a cell takes one step and has no reset/,
  )
  class Own extends nn.Module {
    override forward(): void {}
  }
  const Net = Own as unknown as new (...args: unknown[]) => nn.Module
  t.regex(
    said(() => new Net(3)),
    /^\[Module\] arguments: expected none, got 1/,
  )
})

test('what users define is theirs', async (t) => {
  class Net extends nn.Module {
    readonly layer = new nn.Linear(2, 2)
    constructor(readonly size: number) {
      super()
    }
    override forward(x: library.Tensor, twice: boolean): library.Tensor {
      return twice ? x.add(x) : x
    }
  }
  const net = new (Net as unknown as new (...args: unknown[]) => Net)(3, 4)
  const forward = net.forward.bind(net) as (...args: unknown[]) => library.Tensor
  t.deepEqual([...(await forward(ones([2]), true, 'more').data())], [2, 2])
  // JSON passes the key.
  t.is(JSON.stringify({ history: new library.History() }), '{"history":[]}')
})
