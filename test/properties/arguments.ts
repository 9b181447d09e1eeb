/** Wrong arguments of every function: each call is refused with a clear error or gives a result. */
import fc from 'fast-check'
import * as library from 'fused-rnn'
import { nn, ones, Tensor, zeros } from 'fused-rnn'
import { testDevice } from '../helpers.js'
import { isPlain } from './recipes/tools.js'
import { forgotten, recipes } from './recipes.js'
import { isClear, isRefusal, type Property } from './run.js'

const disposed = (): Tensor => {
  const gone = ones([2, 3])
  gone[Symbol.dispose]()
  return gone
}
const detached = (): Float32Array => {
  const array = Float32Array.of(1, 2, 3)
  structuredClone(array.buffer, { transfer: [array.buffer] })
  return array
}
const circular = (): unknown[] => {
  const list: unknown[] = []
  list.push(list)
  return list
}
const lying = (): Float32Array =>
  Object.defineProperty(new Float32Array(3), 'length', { value: 1000 })

/** By name, for messages. */
const GARBAGE: Record<string, () => unknown> = {
  undefined: () => undefined,
  null: () => null,
  true: () => true,
  ...Object.fromEntries(
    [
      0,
      1,
      -1,
      2,
      3,
      7,
      NaN,
      Infinity,
      -Infinity,
      0.5,
      2 ** 31,
      2 ** 32,
      2 ** 40,
      2 ** 53,
      -(2 ** 31),
      1e308,
      1e-320,
    ].map((n) => [String(n), () => n]),
  ),
  "''": () => '',
  "'x'": () => 'x',
  "'cuda:7'": () => 'cuda:7',
  symbol: () => Symbol('s'),
  bigint: () => 10n,
  '[]': () => [],
  '[0]': () => [0],
  '[2, 3]': () => [2, 3],
  '[2 ** 40]': () => [2 ** 40],
  '[2 ** 40, 0]': () => [2 ** 40, 0],
  ragged: () => [[1], [2, 3]],
  '[NaN]': () => [NaN],
  holes: () => new Array(3),
  circular,
  '{}': () => ({}),
  'no prototype': () => Object.create(null),
  'length 3': () => ({ length: 3 }),
  'length 2 ** 40': () => ({ length: 2 ** 40 }),
  __proto__: () => JSON.parse('{"__proto__": 1}'),
  function: () => () => 1,
  throws: () => () => {
    throw new RangeError('[user] no')
  },
  date: () => new Date(0),
  map: () => new Map([['a', 1]]),
  set: () => new Set([1]),
  promise: () => Promise.resolve(1),
  f32: () => Float32Array.of(1, 2, 3),
  i32: () => Int32Array.of(1, 2, 3),
  u8: () => Uint8Array.of(1, 2, 3),
  i64: () => BigInt64Array.of(1n),
  view: () => new DataView(new ArrayBuffer(8)),
  buffer: () => new ArrayBuffer(8),
  shared: () => new Int32Array(new SharedArrayBuffer(12)),
  detached,
  lying,
  number: () => ones([]),
  tensor: () => ones([2, 3]),
  vector: () => ones([3]),
  int32: () => zeros([2, 3], { dtype: 'int32' }),
  empty: () => ones([0]),
  wide: () => ones([1, 1, 1, 1, 1, 1, 1, 2]),
  'needs gradient': () => ones([2, 3], { requiresGrad: true }),
  computed: () => ones([2, 3], { requiresGrad: true }).mul(2),
  disposed,
  layer: () => new nn.Linear(3, 2),
  packed: () => nn.utils.rnn.packSequence([ones([2, 3]), ones([1, 3])]),
}
const NAMES = Object.keys(GARBAGE)

type Path = readonly (string | number)[]

/** Every place in the arguments, of arrays' and plain objects' members too. */
function places(value: unknown, path: Path = []): Path[] {
  const open = path.length < 4 && isPlain(value)
  const deeper = open
    ? Object.entries(value).flatMap(([key, member]) => places(member, [...path, key]))
    : []
  return path.length === 0 ? deeper : [path, ...deeper]
}

function put(args: unknown[], path: Path, value: unknown): void {
  const last = path.at(-1) as string
  const holder = path.slice(0, -1).reduce<unknown>((at, key) => Object(at)[key], args) as Record<
    string,
    unknown
  >
  // What an earlier replacement has taken away cannot be replaced.
  if (typeof holder === 'object' && holder !== null && Object.isExtensible(holder))
    Reflect.set(holder, last, value)
}

/** Waits for what a call gave, and reads what is in it. */
async function settled(result: unknown, depth = 0): Promise<void> {
  const value = await result
  if (value instanceof Tensor) {
    const values = await value.data()
    if (values.length !== value.numel) throw new Error(`${values.length} values in ${value}`)
  } else if (value instanceof nn.Module) {
    for (const parameter of value.parameters()) await settled(parameter, depth)
  } else if (Array.isArray(value) && depth < 3) {
    for (const item of value.slice(0, 8)) await settled(item, depth + 1)
  } else if (
    Object.prototype.toString.call(value).endsWith('Generator]') &&
    typeof Object(value).next === 'function'
  ) {
    const generator = value as AsyncGenerator<unknown>
    for (let i = 0; i < 2 && !(await generator.next()).done; i++);
    await generator.return(undefined)
  }
}

/** What comes later: an index inside a tensor, or memory. */
const FILES =
  /^(io\.|onnx\.(export|load)|data\.(loadText|loadCSV)|models\.(\w+\.(load|save|writeSVG)|from(Keras|Tfjs))|History\.write)/

/** What is an error however it is called: without a fit, without other processes. */
const REFUSED =
  /^(nn.(ModuleList|ModuleDict|ParameterList|ParameterDict).forward|quantization.\w+.resetParameters|Trainer.saveCheckpoint|distributed\.|nn.parallel\.)/

async function refusedOrDone(name: string, call: () => unknown, said: () => string): Promise<void> {
  const fail = (when: string, error: unknown): never => {
    throw new Error(`${said()}: ${when}: ${(error as Error)?.stack ?? String(error)}`)
  }
  const mayThrow = (error: unknown): boolean =>
    (FILES.test(name) ? isClear(error) : isRefusal(error)) ||
    (error instanceof Error && error.message === '[user] no')
  let result: unknown
  try {
    result = call()
  } catch (error) {
    if (!mayThrow(error)) fail('thrown', error)
    return
  }
  try {
    await settled(result)
    await library.synchronize()
  } catch (error) {
    const fine = FILES.test(name)
      ? error instanceof Error && /^\[/.test(error.message)
      : isClear(error)
    if (!fine) fail('rejected', error)
  }
  // Failures that more than one promise could have told.
  await library.synchronize().catch((error) => isClear(error) || fail('later', error))
  library.setDefaultDevice(testDevice)
}

const choice = fc.nat({ max: NAMES.length - 1 })

const mutated = (name: string): Property => ({
  name: `a wrong argument of ${name}`,
  property: fc.asyncProperty(
    fc.array(fc.tuple(fc.nat(), choice), { minLength: 1, maxLength: 2 }),
    async (changes) => {
      const [f, args] = (recipes[name] as (typeof recipes)[string])()
      const done: string[] = []
      for (const [where, which] of changes) {
        const all = places(args)
        if (all.length === 0) break
        const path = all[where % all.length] as Path
        const label = NAMES[which] as string
        put(args, path, GARBAGE[label]?.())
        done.push(`${path.join('.')} = ${label}`)
      }
      const run = f as (...args: unknown[]) => unknown
      await refusedOrDone(
        name,
        () => run(...args),
        () => `${name} with ${done.join(', ')}`,
      )
    },
  ),
})

const replaced = (name: string): Property => ({
  name: `any arguments of ${name}`,
  share: 0.3,
  property: fc.asyncProperty(fc.array(choice, { maxLength: 4 }), async (chosen) => {
    const [f] = (recipes[name] as (typeof recipes)[string])()
    const labels = chosen.map((which) => NAMES[which] as string)
    const args = labels.map((label) => GARBAGE[label]?.())
    const run = f as (...args: unknown[]) => unknown
    await refusedOrDone(
      name,
      () => run(...args),
      () => `${name}(${labels.join(', ')})`,
    )
  }),
})

/** That nothing is left out, and that the right calls are right. */
const complete: Property = {
  name: 'right arguments',
  property: fc.asyncProperty(fc.constant(null), async () => {
    const without = forgotten()
    if (without.length > 0) throw new Error(`no recipe for ${without.join(', ')}`)
    for (const [name, recipe] of Object.entries(recipes)) {
      const [f, args] = recipe()
      try {
        await settled((f as (...args: unknown[]) => unknown)(...args))
      } catch (error) {
        if (!FILES.test(name) && !REFUSED.test(name))
          throw new Error(`${name}: ${(error as Error).stack}`)
      }
    }
  }),
}

export const argumentProperties: Property[] = [
  complete,
  ...Object.keys(recipes).flatMap((name) => [mutated(name), replaced(name)]),
]
