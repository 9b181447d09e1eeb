import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { data, io, nn, type Tensor, tensor, zeros } from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

const { load, loadWithMetadata, parse, save, serialize } = io.safetensors
const written = fileURLToPath(new URL('../test/fixtures/safetensors.safetensors', import.meta.url))

let folder: string
test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fused-rnn-safetensors-'))
})
test.after.always(() => rm(folder, { recursive: true, force: true }))

test('a file that PyTorch wrote: every type', async (t) => {
  const { tensors, metadata } = await loadWithMetadata(written)
  const values = async (name: string) => [...(await (tensors.get(name) as Tensor).data())]
  t.deepEqual(
    await values('f32'),
    [0, 1, 2, 3, 4, 5].map((x) => Math.fround(x / 7)),
  )
  t.deepEqual(
    await values('f64'),
    [0, 1, 2, 3].map((x) => Math.fround(x / 3)),
  )
  t.deepEqual(await values('f16'), [0, -1.5, 65504, 6.103515625e-5, 2 ** -24, Infinity])
  t.deepEqual(await values('bf16'), [1, -2.5, 3.140625, NaN])
  t.deepEqual(await values('i32'), [-(2 ** 31), 2 ** 31 - 1])
  t.deepEqual(await values('i64'), [-5, 7, 2 ** 31 - 1])
  t.deepEqual(await values('i16'), [-300, 300])
  t.deepEqual(await values('i8'), [-128, 127])
  t.deepEqual(await values('u8'), [0, 255, 3])
  t.deepEqual(await values('bool'), [1, 0, 1])
  t.deepEqual(await values('scalar'), [2.5])
  t.deepEqual(await values('__proto__'), [1])
  t.deepEqual(await values('größe/"x"\\'), [2])
  t.deepEqual(
    [...(tensors.get('f32') as Tensor).shape, ...(tensors.get('empty') as Tensor).shape],
    [2, 3, 3, 0],
  )
  t.deepEqual([...(tensors.get('scalar') as Tensor).shape], [])
  t.is(tensors.get('i64')?.dtype, 'int32')
  t.is(tensors.get('bf16')?.dtype, 'float32')
  t.deepEqual(Object.fromEntries(metadata), { format: 'pt', note: 'ä\n' })
  t.is((await load(written)).size, 14)
})

test('what is written loads again, and is laid out as the format says', async (t) => {
  const path = join(folder, 'round.safetensors')
  const tensors = new Map([
    ['a.weight', tensor([[1, 2, 3]])],
    ['n', tensor([1, -2], { dtype: 'int32' })],
    ['empty', zeros([0, 4])],
    ['__proto__', tensor(7)],
    ['ü"', tensor([0.5])],
  ])
  await save(path, tensors, { metadata: { format: 'pt', steps: '3' } })
  const bytes = await readFile(path)
  t.deepEqual(
    new Uint8Array(bytes),
    new Uint8Array(await serialize(tensors, { metadata: { format: 'pt', steps: '3' } })),
  )
  const length = Number(bytes.readBigUInt64LE(0))
  t.is((8 + length) % 8, 0)
  const text = bytes.toString('utf8', 8, 8 + length)
  t.regex(text, /^\{"__metadata__":\{"format":"pt","steps":"3"\},.*\} *$/)
  t.true(text.includes('"a.weight":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]}'), text)
  t.true(text.includes('"n":{"dtype":"I32","shape":[2],"data_offsets":[12,20]}'))
  t.is(bytes.byteLength, 8 + length + 12 + 8 + 0 + 4 + 4)
  t.is(bytes.readFloatLE(8 + length + 8), 3)

  const back = parse(bytes)
  t.deepEqual([...back.tensors.keys()], [...tensors.keys()])
  for (const [name, original] of tensors) {
    const loaded = back.tensors.get(name) as Tensor
    t.deepEqual(loaded.shape, original.shape)
    t.deepEqual(await loaded.data(), await original.data())
  }
  t.is(back.metadata.get('steps'), '3')
  await save(path, new Map([['x', tensor([9])]]), { metadata: new Map([['a', 'b']]) })
  t.deepEqual([...(await load(path)).keys()], ['x'])
  t.deepEqual(
    (await readdir(folder)).filter((name) => name.includes('.tmp')),
    [],
  )
  await save(path, new Map())
  t.is((await load(path)).size, 0)
})

test('a module goes through a file; what is saved are the values of the moment', async (t) => {
  const path = join(folder, 'module.safetensors')
  const layer = new nn.Linear(3, 2)
  const before = await layer.weight.data()
  const saved = save(path, layer.stateDict())
  nn.init.zeros(layer.weight)
  await saved
  layer.loadStateDict(await load(path))
  t.deepEqual(await layer.weight.data(), before)
})

test('chosen tensors, in their order', async (t) => {
  const whole = await load(written)
  const some = await load(written, { keys: ['i8', 'f32', 'i8'] })
  t.deepEqual([...some.keys()], ['i8', 'f32'])
  for (const [name, tensor] of some)
    t.deepEqual(await tensor.data(), await (whole.get(name) as Tensor).data())
  t.is((await load(written, { keys: [] })).size, 0)
  await rejectsWith(
    t,
    load(written, { keys: ['scalr'] }),
    Error,
    /^\[safetensors\.load\] .*: it has no tensor 'scalr'; did you mean 'scalar'\?; it has '.*, … \(14 in all\)$/,
  )
  await rejectsWith(t, load(written, { keys: ['größe'] }), Error, /did you mean 'größe\/"x"/)
  await rejectsWith(
    t,
    load(written, { keys: 'f32' as never }),
    TypeError,
    /keys: expected an array/,
  )
  await rejectsWith(
    t,
    load(written, { keys: [1] as never }),
    TypeError,
    /keys\[0\]: expected a string/,
  )

  const open = await io.safetensors.safeOpen(written)
  t.is(open.keys().length, 14)
  t.is(open.metadata().get('format'), 'pt')
  const [f32, i8] = await Promise.all([open.getTensor('f32'), open.getTensor('i8')])
  t.deepEqual([...f32.shape, ...(await i8.data())], [2, 3, -128, 127])
  await rejectsWith(
    t,
    open.getTensor('x'),
    Error,
    /\[safetensors\.safeOpen\] .*no tensor 'x'; it has/,
  )
  await rejectsWith(t, open.getTensor(1 as never), TypeError, /\[getTensor\] name/)
  await open.close()
  await rejectsWith(t, open.getTensor('f32'), Error, /\[safetensors\.safeOpen\]/)
  await rejectsWith(t, io.safetensors.safeOpen('nothing'), Error, /no such file/)
})

test.serial('a tensor of an unknown type does not keep the others', async (t) => {
  const path = join(folder, 'f8.safetensors')
  const header = { a: entry(0, 1, [1], 'F8_E4M3'), b: entry(1, 5), c: entry(5, 13, [1], 'C64') }
  await writeFile(path, file(header, 13))
  const warnings: string[] = []
  const { emitWarning } = process
  process.emitWarning = (text: string | Error) => {
    warnings.push(String(text))
  }
  t.teardown(() => {
    process.emitWarning = emitWarning
  })
  const { tensors, unsupported } = await loadWithMetadata(path)
  t.deepEqual(
    [[...tensors.keys()], [...unsupported]],
    [
      ['b'],
      [
        ['a', 'F8_E4M3'],
        ['c', 'C64'],
      ],
    ],
  )
  t.deepEqual([...parse(await readFile(path)).tensors.keys()], ['b'])
  t.is(warnings.length, 4)
  t.regex(
    warnings[0] as string,
    /f8\.safetensors: left out.*'a' has the dtype 'F8_E4M3'; known are/,
  )
  t.deepEqual([...(await load(path, { keys: ['b'] })).keys()], ['b'])
  t.is(warnings.length, 4)
  await rejectsWith(t, load(path, { keys: ['b', 'a'] }), Error, /'a' has the dtype 'F8_E4M3'/)
  const gap = { a: entry(0, 1, [1], 'F8_E4M3'), b: entry(2, 6) }
  await writeFile(path, file(gap, 6))
  await rejectsWith(t, load(path), Error, /bytes 1 to 2 of the data belong to no tensor/)
})

test('files of other programs are named, with what to do', async (t) => {
  const zip = (first: string): Buffer => {
    const head = Buffer.alloc(64)
    head.write('PK\x03\x04', 'latin1')
    head.writeUInt16LE(first.length, 26)
    head.write(first, 30)
    return head
  }
  const long = (text: string) => Buffer.concat([Buffer.from(text, 'latin1'), Buffer.alloc(40, 255)])
  const cases: [name: string, bytes: Uint8Array, message: RegExp][] = [
    [
      'model.pt',
      zip('archive/data.pkl'),
      /a file of PyTorch .*read it with io\.torch\.load\('.*model\.pt'\)/,
    ],
    ['old.pt', long('\x80\x02\x8a'), /a pickle of Python .*torch\.load/],
    ['w.npz', zip('arr_0.npy'), /NumPy \(\.npz\).*dict\(numpy\.load\('.*w\.npz'\)\)/],
    ['w.npy', long('\x93NUMPY\x01'), /NumPy \(\.npy\)/],
    ['m.keras', zip('config.json'), /a model of Keras/],
    ['docs.zip', zip('a.txt'), /compressed with zip.*unzip/],
    ['m.h5', long('\x89HDF\r\n\x1a\n'), /an HDF5 file/],
    ['m.onnx', long('\x08\x09\x12\x07pytorch'), /an ONNX model; read it with onnx\.load/],
    ['m.gz', long('\x1f\x8b\x08'), /compressed with gzip; unpack it first: gunzip .*m\.gz$/],
    [
      'lfs',
      long('version https://git-lfs.github.com/spec/v1\n'),
      /pointer of Git LFS.*git lfs pull/,
    ],
    ['page', long('<!DOCTYPE html>'), /a web page/],
    ['short.gz', Buffer.from('\x1f\x8b\x08', 'latin1'), /compressed with gzip/],
  ]
  for (const [name, bytes, message] of cases) {
    const path = join(folder, name)
    await writeFile(path, bytes)
    await rejectsWith(t, load(path), Error, message)
    await rejectsWith(t, io.load(path), Error, new RegExp(`^\\[io\\.load\\] .*${name}: it is `))
    throwsWith(t, () => parse(bytes), Error, /^\[safetensors\.parse\] it is /)
    if (!/lfs|page/.test(name)) await rejectsWith(t, data.loadText(path), TypeError, message)
  }
})

// ---- Damaged and hostile files ---------------------------------------------------------------------

/** A file with this header (text, or what becomes JSON) and this number of bytes of data. */
function file(header: unknown, dataBytes = 0, length?: bigint): Uint8Array {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const bytes = Buffer.alloc(8 + text.byteLength + dataBytes)
  bytes.writeBigUInt64LE(length ?? BigInt(text.byteLength), 0)
  text.copy(bytes, 8)
  return bytes
}
const entry = (begin: number, end: number, shape: unknown = [1], dtype: unknown = 'F32') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
})

const damaged: [string, Uint8Array, RegExp][] = [
  ['an empty file', new Uint8Array(0), /file of 0 bytes is too short/],
  ['seven bytes', new Uint8Array(7), /too short/],
  ['an absurd header length', file('{}', 0, 2n ** 63n), /header of 9223372036854775808 bytes/],
  ['a header of the largest length', file('{}', 0, 100_000_000n), /in a file of 10 bytes/],
  ['a header beyond the file', file('{}', 0, 3n), /header of 3 bytes in a file of 10 bytes/],
  ['no JSON', file('{oops}'), /not JSON: expected a string at character 1/],
  ['half a JSON', file('{"a":{"dtype"'), /not JSON: expected :/],
  ['an unfinished text', file('{"a'), /not JSON: expected a string/],
  ['a bad escape', file('{"\\x":1}'), /not JSON/],
  ['no colon', file('{"a" 1}'), /expected :/],
  ['no comma', file('{"a":1 "b":2}'), /expected , or \}/],
  ['a bad value', file('{"a":+1}'), /expected a value/],
  ['something behind', file('{} {}'), /expected the end/],
  ['deep nesting', file(`{"a":${'['.repeat(100_000)}`), /at most 32 levels/],
  ['no object', file('[]'), /does not begin with \{/],
  ['no UTF-8', file('{"\u0000"}').map((b) => (b === 0x22 ? 0xff : b)), /UTF-8/],
  ['a name twice', file('{"a":{},"a":{}}'), /'a' stands twice/],
  ['an entry that is no object', file({ a: 5 }), /'a' is not an object/],
  ['__proto__ as entry', file('{"__proto__":5}'), /'__proto__' is not an object/],
  ['an unknown key', file({ a: { ...entry(0, 4), x: 1 } }, 4), /'a' has an unknown key 'x'/],
  ['no dtype', file({ a: { shape: [1], data_offsets: [0, 4] } }, 4), /dtype undefined/],
  [
    'an unknown dtype',
    file({ a: entry(0, 1, [1], 'F8_E4M3') }, 1),
    /dtype 'F8_E4M3'; known are F64/,
  ],
  ['a dtype of the prototype', file({ a: entry(0, 4, [1], 'toString') }, 4), /dtype 'toString'/],
  ['a shape that is a number', file({ a: entry(0, 4, 1) }, 4), /no shape of whole numbers/],
  ['a negative size', file({ a: entry(0, 4, [-1]) }, 4), /no shape of whole numbers/],
  ['half a size', file({ a: entry(0, 4, [0.5]) }, 4), /no shape of whole numbers/],
  ['a size beyond whole numbers', file({ a: entry(0, 4, [1e300]) }, 4), /no shape/],
  ['offsets of one', file({ a: { ...entry(0, 4), data_offsets: [0] } }, 4), /no data_offsets/],
  [
    'offsets of texts',
    file({ a: { ...entry(0, 4), data_offsets: ['0', '4'] } }, 4),
    /data_offsets/,
  ],
  ['negative offsets', file({ a: entry(-4, 0) }, 4), /no data_offsets/],
  ['offsets backwards', file({ a: entry(4, 0) }, 4), /'a' lies at bytes 4 to 0 of 4/],
  ['offsets beyond the file', file({ a: entry(0, 8, [2]) }, 4), /bytes 0 to 8 of 4 bytes of data/],
  ['a huge shape', file({ a: entry(0, 4, [2 ** 40]) }, 4), /needs 4398046511104 bytes, and has 4/],
  [
    'a shape whose product overflows',
    file({ a: entry(0, 4, [2 ** 32, 2 ** 32, 2 ** 32]) }, 4),
    /and has 4/,
  ],
  ['too few values', file({ a: entry(0, 4, [2]) }, 4), /needs 8 bytes, and has 4/],
  ['nine dimensions', file({ a: entry(0, 4, Array(9).fill(1)) }, 4), /at most 8 dimensions/],
  ['two tensors in one place', file({ a: entry(0, 4), b: entry(0, 4) }, 4), /'b' overlaps/],
  ['a hole', file({ a: entry(4, 8) }, 8), /bytes 0 to 4 of the data belong to no tensor/],
  ['bytes behind', file({ a: entry(0, 4) }, 5), /bytes 4 to 5 of the data belong to no tensor/],
  [
    'metadata of numbers',
    file({ __metadata__: { a: 1 } }),
    /__metadata__ is not an object of texts/,
  ],
  ['metadata that is a text', file({ __metadata__: 'a' }), /__metadata__ is not an object/],
]

for (const [name, bytes, message] of damaged) {
  test(`damaged: ${name}`, async (t) => {
    throwsWith(t, () => parse(bytes), Error, message)
    const path = join(folder, `${name.replaceAll(/\W/g, '_')}.safetensors`)
    await writeFile(path, bytes)
    const error = await t.throwsAsync(load(path))
    t.regex(error?.message ?? '', message)
    t.true(error?.message.startsWith(`[safetensors.load] ${path}: `))
  })
}

test('an integer that int32 cannot hold', (t) => {
  const bytes = Buffer.from(file({ a: entry(0, 8, [1], 'I64') }, 8))
  bytes.writeBigInt64LE(2n ** 31n, bytes.byteLength - 8)
  throwsWith(t, () => parse(bytes), Error, /'a' has the value 2147483648 at element 0/)
})

test('every cut of a good file is an error', async (t) => {
  const whole = await readFile(written)
  for (let length = 0; length < whole.byteLength; length += 13) {
    t.throws(() => parse(whole.subarray(0, length)))
  }
  const path = join(folder, 'cut.safetensors')
  await writeFile(path, whole)
  await truncate(path, whole.byteLength - 1)
  await rejectsWith(t, load(path), Error, /cut\.safetensors: .*lies at bytes/)
})

test('flipped bits never do worse than an error', async (t) => {
  const whole = await readFile(written)
  for (let i = 0; i < Math.min(whole.byteLength, 1200); i++) {
    const changed = Uint8Array.from(whole)
    changed[i] = (changed[i] as number) ^ (1 << (i % 8))
    try {
      parse(changed)
    } catch (error) {
      t.regex((error as Error).message, /^\[safetensors\.parse\] /)
    }
  }
  t.pass()
})

test('paths and arguments', async (t) => {
  const one = new Map([['a', tensor([1])]])
  const missing = join(folder, 'missing', 'file.safetensors')
  await rejectsWith(t, load(missing), Error, /missing.*: no such file or folder/)
  await rejectsWith(t, load(folder), Error, /(not a regular file|is a folder)/)
  await rejectsWith(t, load(5 as never), TypeError, /\[safetensors\.load\] path/)
  await rejectsWith(t, save(missing, one), Error, /missing.*: no such file or folder/)
  await rejectsWith(t, save('', one), TypeError, /path/)
  const taken = join(folder, 'folder')
  await mkdir(taken)
  await rejectsWith(t, save(taken, one), Error, /\[safetensors\.save\] .*folder: /)
  t.true((await stat(taken)).isDirectory())
  const path = join(folder, 'never')
  await rejectsWith(t, save(path, { a: 1 } as never), TypeError, /expected a Map of tensors/)
  await rejectsWith(
    t,
    save(path, new Map([['a', 1 as never]])),
    TypeError,
    /'a': expected a tensor/,
  )
  await rejectsWith(t, save(path, new Map([[1 as never, tensor(1)]])), TypeError, /names as keys/)
  await rejectsWith(t, save(path, new Map([['__metadata__', tensor(1)]])), TypeError, /own name/)
  await rejectsWith(
    t,
    save(path, one, { metadata: { a: 1 as never } }),
    TypeError,
    /metadata\['a'\]/,
  )
  await rejectsWith(t, save(path, one, { metadata: 'x' as never }), TypeError, /metadata/)
  await rejectsWith(t, save(path, one, { meta: {} } as never), TypeError, /meta/)
  const gone = tensor([1])
  gone[Symbol.dispose]()
  await rejectsWith(t, save(path, new Map([['a', gone]])), TypeError, /disposed/)
  throwsWith(t, () => parse('x' as never), TypeError, /bytes: expected a Uint8Array/)
  t.false((await readdir(folder)).includes('never'))
})
