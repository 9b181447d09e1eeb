/**
 * Which file imports which. A circle makes its files one: none can be read, moved or loaded without
 * the others. Types count too, since a reader follows them as well; only what a circle does when it
 * is loaded differs.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { onCpu } from './helpers.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '../ts')

// Sources know no device.
const once = onCpu ? test : test.skip

/**
 * The circles there are, by a pattern of their files. A tensor's methods are operations, which make
 * tensors and record themselves. The others are made of types alone: a class, and functions that
 * take it, called by its methods.
 */
const ALLOWED = {
  values: [/^(tensor|tensor\/\w+|autograd|autograd\/\w+|ops\/\w+)\.ts$/],
  types: [
    /^(tensor|tensor\/\w+|autograd|autograd\/\w+|ops\/\w+)\.ts$/,
    /^onnx\/(graph|layers|recurrent|scan|scan_cells)\.ts$/,
    /^models\/(language_model|config|generate|token_choice)\.ts$/,
  ],
}

type Graph = Map<string, string[]>

const IMPORT =
  /^(?:import|export)\s+(?<type>type\s)?(?:(?<names>[^'";]*?)\sfrom\s+)?'(?<path>\.[^']*)'/gm

/** The relative imports of a file, from a text without comments. */
function importsOf(file: string, source: string, withTypes: boolean): string[] {
  const code = source.replace(/\/\*.*?\*\//gs, '').replace(/^\s*\/\/.*$/gm, '')
  const found = [...code.matchAll(IMPORT)].flatMap(({ groups }) => {
    const { type, names, path = '' } = groups as Record<string, string | undefined>
    const listed = /^\{(.*)\}$/s.exec(names?.trim() ?? '')?.[1]?.split(',') ?? []
    const members = listed.map((name) => name.trim()).filter((name) => name !== '')
    const onlyTypes = members.length > 0 && members.every((name) => name.startsWith('type '))
    if (!withTypes && (type !== undefined || onlyTypes)) return []
    return [posix.join(posix.dirname(file), path).replace(/\.js$/, '.ts')]
  })
  return [...new Set(found)]
}

/** Groups of files each of which leads to all others of its group (Tarjan 1972). */
function circles(graph: Graph): string[][] {
  const found: string[][] = []
  const index = new Map<string, number>()
  const low = new Map<string, number>()
  const stack: string[] = []
  const visit = (file: string): void => {
    const number = index.size
    index.set(file, number)
    low.set(file, number)
    stack.push(file)
    for (const next of graph.get(file) ?? []) {
      if (!index.has(next)) visit(next)
      else if (!stack.includes(next)) continue
      low.set(file, Math.min(low.get(file) as number, low.get(next) as number))
    }
    if (low.get(file) !== number) return
    const group = stack.splice(stack.indexOf(file))
    if (group.length > 1) found.push(group.sort())
  }
  for (const file of graph.keys()) if (!index.has(file)) visit(file)
  return found
}

/** The way from a file of a circle back to itself, for the message. */
function wayRound(graph: Graph, group: readonly string[]): string {
  const start = group[0] as string
  const cameFrom = new Map<string, string>()
  const queue = [start]
  for (const file of queue) {
    for (const next of (graph.get(file) ?? []).filter((name) => group.includes(name))) {
      if (next === start) {
        const way = [start]
        for (let at: string = file; at !== start; at = cameFrom.get(at) as string) way.push(at)
        return [...way, start].reverse().join(' imports ')
      }
      if (cameFrom.has(next)) continue
      cameFrom.set(next, file)
      queue.push(next)
    }
  }
  return group.join(', ')
}

/** What to tell of the circles that are not allowed. */
function problems(graph: Graph, allowed: readonly RegExp[]): string[] {
  return circles(graph)
    .filter((group) => !allowed.some((pattern) => group.every((file) => pattern.test(file))))
    .map((group) => wayRound(graph, group))
}

function sources(withTypes: boolean): Graph {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((file) => file.replaceAll('\\', '/'))
    .filter((file) => file.endsWith('.ts'))
  return new Map(
    files.map((file) => [file, importsOf(file, readFileSync(join(root, file), 'utf8'), withTypes)]),
  )
}

for (const kind of ['values', 'types'] as const) {
  once(`no circle of imports but those that are named here: ${kind}`, (t) => {
    const graph = sources(kind === 'types')
    for (const [file, imported] of graph)
      for (const other of imported) t.true(existsSync(join(root, other)), `${file}: ${other}`)
    t.deepEqual(problems(graph, ALLOWED[kind]), [])
    // Each exception is still needed.
    for (const pattern of ALLOWED[kind])
      t.true(
        circles(graph).some((group) => group.every((file) => pattern.test(file))),
        String(pattern),
      )
  })
}

once('a circle is found and named, whatever form its imports have', (t) => {
  const files = {
    'a.ts': "import {\n  one,\n  type Two,\n} from './deep/b.js'\n",
    'deep/b.ts': "/** import './c.js' */\nexport * from '../c.js'\n",
    'c.ts': "// import './d.js'\nimport './a.js'\nimport type { D } from './d.js'\n",
    'd.ts': "import { type C } from './c.js'\nimport { readFileSync } from 'node:fs'\n",
  }
  const graph = (withTypes: boolean): Graph =>
    new Map(Object.entries(files).map(([file, text]) => [file, importsOf(file, text, withTypes)]))
  t.deepEqual(problems(graph(false), []), ['a.ts imports deep/b.ts imports c.ts imports a.ts'])
  t.deepEqual(problems(graph(false), [/^(a|deep\/b|c)\.ts$/]), [])
  t.deepEqual(problems(graph(true), [/^(a|deep\/b|c)\.ts$/]).length, 1)
})
