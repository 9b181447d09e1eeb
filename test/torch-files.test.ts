import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { io, memoryStats, nn, Tensor, tensor, zeros } from 'fused-rnn'
import { pickled } from '../dist/io/torch/pickle.js'
import { zipped } from '../dist/io/zip_writer.js'
import { onCpu, rejectsWith, testDevice, throwsWith } from './helpers.js'

const fixtures = fileURLToPath(new URL('../test/fixtures/', import.meta.url))
const fixture = (name: string): string => join(fixtures, 'torch', name)

let folder: string
let expected: Record<string, unknown>
test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fused-rnn-torch-'))
  expected = JSON.parse(await readFile(join(fixtures, 'torch.json'), 'utf8')).files
})
test.after.always(() => rm(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)

const text = (x: number): string => String(x).replace('NaN', 'nan').replace('Infinity', 'inf')

/** What was read, in the form of torch.json. */
async function plain(value: unknown): Promise<unknown> {
  if (value instanceof Tensor) {
    const values = [...(await value.data())].map((x) => (Number.isFinite(x) ? x : text(x)))
    return { tensor: values, shape: [...value.shape], dtype: value.dtype }
  }
  if (value instanceof Map)
    return {
      dict: await Promise.all([...value].map(async ([k, v]) => [await plain(k), await plain(v)])),
    }
  if (value instanceof Set) return { set: [...value] }
  if (value instanceof Uint8Array) return { bytes: [...value] }
  if (Array.isArray(value)) return Promise.all(value.map(plain))
  if (typeof value === 'bigint') return { int: String(value) }
  if (typeof value === 'number' && !Number.isFinite(value)) return { float: text(value) }
  return value
}

for (const name of [
  ...['lstm', 'types', 'views', 'checkpoint', 'protocol5', 'tensor', 'number'],
  ...['no-checksums', 'zip64', 'written'],
])
  test(`what PyTorch finds in ${name}.pt`, async (t) => {
    t.deepEqual(await plain(await io.torch.load(fixture(`${name}.pt`))), expected[`${name}.pt`])
  })

test('a state dict fits the layer, and goes where it is wanted', async (t) => {
  const state = await io.torch.load(fixture('lstm.pt'), { device: testDevice })
  t.is(state.get('bias_hh_l1')?.device, testDevice)
  const lstm = new nn.LSTM(3, 4, { numLayers: 2, bidirectional: true, device: testDevice })
  t.deepEqual(lstm.loadStateDict(state), { missingKeys: [], unexpectedKeys: [] })
  t.throws(() => JSON.stringify(state), { message: /JSON cannot hold/ })
})

test('tensors of the same elements share memory, parameters require gradients', async (t) => {
  const views = await io.torch.load(fixture('views.pt'))
  const get = (name: string) => views.get(name) as Tensor
  t.is(get('base').buffer, get('flat').buffer)
  t.not(get('base').buffer, get('transposed').buffer)
  const types = await io.torch.load(fixture('types.pt'))
  t.true(types.get('parameter')?.requiresGrad)
  t.false(types.get('float32')?.requiresGrad)
})

test('the state dict of a checkpoint', async (t) => {
  const checkpoint = await io.torch.load(fixture('checkpoint.pt'))
  const state = io.torch.stateDict(checkpoint)
  t.is(state.size, 9)
  t.is(io.torch.stateDict(checkpoint, { key: 'state_dict' }), state)
  t.is(io.torch.stateDict(state), state)
  t.is(io.torch.stateDict(new Map([['a', new Map([['b', state]])]]), { key: 'a.b' }), state)
  const named = { only: state }
  t.is(io.torch.stateDict(new Map(Object.entries(named))), state)
  const two = new Map([
    ['x', state],
    ['y', state],
  ])
  throwsWith(t, () => io.torch.stateDict(two), TypeError, /several.*\{ key \}.*'x', 'y'/)
  throwsWith(t, () => io.torch.stateDict(new Map()), TypeError, /there is none/)
  throwsWith(
    t,
    () => io.torch.stateDict(5),
    TypeError,
    /\[torch\.stateDict\] value: expected a dict/,
  )
  const mixed = new Map<string, unknown>([
    ['a', zeros([1])],
    ['extra', 5],
  ])
  throwsWith(t, () => io.torch.stateDict(mixed), TypeError, /got one with 'extra': 5; delete/)
  throwsWith(
    t,
    () => io.torch.stateDict(checkpoint, { key: 'epoch' }),
    TypeError,
    /'epoch': expected a state dict, which may be under 'epoch', .*got 3/,
  )
})

test('what is not read is named, with what to do, and never called', async (t) => {
  const refused: [string, RegExp][] = [
    ['complex', /ComplexFloatStorage' \(near 'z'\).*view_as_real/],
    ['sparse', /_rebuild_sparse_tensor' \(near 's'\).*to_dense/],
    ['float8', /torch\.float8_e4m3fn' \(near 'f'\).*x\.float\(\)/],
    ['model', /'torch\.nn\.modules\.container\.Sequential'.*weights_only=False\)\.state_dict\(\)/],
    ['harmful', /'(posix|nt)\.system' \(near 'settings'\).*nothing in a file is ever called/],
    ['old', /before 1\.6\); write it again in Python: torch\.save\(torch\.load\('.*old\.pt'/],
    ['script', /TorchScript archive.*torch\.jit\.load\('.*script\.pt'\)\.state_dict\(\)/],
    ['big-endian', /big-endian machine/],
    ['deflated', /is compressed, which torch\.save does not do/],
  ]
  for (const [name, message] of refused) {
    await rejectsWith(t, io.torch.load(fixture(`${name}.pt`)), Error, message)
    await rejectsWith(t, io.torch.load(fixture(`${name}.pt`)), Error, /^\[torch\.load\] .*\.pt: /)
  }
  t.false(existsSync('/tmp/fused-rnn-was-called'))
})

test('other files, damaged ones, and what is no path', async (t) => {
  await io.safetensors.save(at('a.safetensors'), new Map([['a', zeros([2])]]))
  await rejectsWith(t, io.torch.load(at('a.safetensors')), Error, /io\.safetensors\.load/)
  await rejectsWith(t, io.safetensors.load(fixture('lstm.pt')), Error, /io\.torch\.load\('/)
  await writeFile(at('empty.pt'), '')
  await rejectsWith(t, io.torch.load(at('empty.pt')), Error, /no file of torch\.save/)
  await rejectsWith(t, io.torch.load(at('nothing.pt')), Error, /no such file/)
  await rejectsWith(t, io.torch.load(folder), Error, /it is a folder/)
  await rejectsWith(t, io.torch.load(5 as never), TypeError, /path: expected the path of a file/)
  const bytes = await readFile(fixture('lstm.pt'))
  for (const length of [10, 700, bytes.length - 30, bytes.length - 1]) {
    await writeFile(at('short.pt'), bytes)
    await truncate(at('short.pt'), length)
    await rejectsWith(t, io.torch.load(at('short.pt')), Error, /damaged or cut short|no file of/)
  }
  const name = bytes.indexOf('lstm/data/3')
  const place = name + bytes.readUInt16LE(name - 4) + bytes.readUInt16LE(name - 2)
  bytes[place] = (bytes[place] as number) ^ 1
  await writeFile(at('changed.pt'), bytes)
  await rejectsWith(t, io.torch.load(at('changed.pt')), Error, /data\/3' has another checksum/)
  const controller = new AbortController()
  controller.abort(new Error('stop'))
  const { signal } = controller
  await rejectsWith(t, io.torch.load(fixture('lstm.pt'), { signal }), Error, /^stop$/)
})

/** An archive with this pickle, and 16 bytes of values. */
async function archive(name: string, pickle: Uint8Array | string): Promise<string> {
  const parts = { 'data.pkl': Buffer.from(pickle as string, 'latin1'), 'data/0': Buffer.alloc(16) }
  const files = Object.entries(parts).map(([name, bytes]) => ({ name: `a/${name}`, bytes }))
  await writeFile(at(name), Buffer.concat([...zipped(files)]))
  return at(name)
}

test('pickles that would take more memory or time than they may', async (t) => {
  const load = async (pickle: Uint8Array | string) => io.torch.load(await archive('p.pt', pickle))
  const refused = async (pickle: Uint8Array | string, message: RegExp) =>
    rejectsWith(t, load(pickle), Error, message)
  await refused(Buffer.alloc(2 ** 21, ']'), /more than 1048576 lists/)
  await refused(Buffer.alloc(2 ** 23 + 2, 'N'), /more than 8388608 instructions/)
  await refused(Buffer.alloc(2 ** 26 + 1), /more than 67108864/)
  // The same dict again and again, as a copy.
  const dict = `}(${Array.from({ length: 256 }, (_, i) => `K${String.fromCharCode(i)}N`).join('')}u`
  await refused(
    `\x80\x02${dict}q\x00${'0ccollections\nOrderedDict\nh\x00\x85R'.repeat(40_000)}.`,
    /copies more/,
  )
  await refused(
    `\x80\x02X\x00\x02\x00\x00${'x'.repeat(512)}q\x00${'0c_codecs\nencode\nh\x00\x85R'.repeat(9)}.`,
    /makes more bytes than it has/,
  )
  t.deepEqual(await plain(await load('\x80\x02(K\x01K\x02d.')), { dict: [[1, 2]] })
  // Deep ones do not take the stack.
  const deep = await load(`\x80\x02${']'.repeat(100_000)}${'a'.repeat(99_999)}.`)
  t.true(Array.isArray(deep))
  const tensorOf = (numel: string, size: string, stride: string): string =>
    `\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu${numel}tQK\x00(${size}t(${stride}t\x89NtR.`
  const four = await io.torch.load<Tensor>(
    await archive('4.pt', tensorOf('K\x04', 'K\x04', 'K\x01')),
  )
  t.deepEqual([...four.shape], [4])
  await refused(tensorOf('K\x04', 'K\x05', 'K\x01'), /needs element 4 of a storage of 4/)
  await refused(
    tensorOf('K\x05', 'K\x05', 'K\x01'),
    /'tensor' \(data\/0\) need 20 bytes and have 16/,
  )
  await refused(tensorOf('K\x04', 'K\x04', ''), /no offset, shape or strides/)
  const before = memoryStats().peak
  await refused(
    tensorOf('K\x04', 'J\x00\x00\x00\x10', 'K\x00'),
    /its tensors would take 1073741824 bytes/,
  )
  t.is(memoryStats().peak, before)
  await refused(
    tensorOf('K\x04', 'J\xff\xff\xff\x7fJ\xff\xff\xff\x7f', 'K\x00K\x00'),
    /memory|take/,
  )
  await refused('\x80\x02K\x01', /cut short/)
  await refused('\x80\x02.', /does not end with one value|a value is missing/)
  await refused('\x80\x02h\x07.', /refers to a value 7/)
  await refused('\x80\x02I1\n.', /the instruction 0x49/)
  await refused('\x80\x02}K\x01K\x02\x86K\x03s.', /a tuple as a key/)
  await refused('\x80\x02X\x01\x00\x00\x00\xff.', /not UTF-8/)
})

// ---- Writing ---------------------------------------------------------------------------------------

/** What written.pt has: torch.load(weights_only=True) took it (test/fixtures/make_torch.py). */
function example(): Map<string, unknown> {
  const weight = tensor([
    [1, -2.5],
    [3, 0.125],
  ])
  return new Map<string, unknown>([
    ['weight', weight],
    ['tied', weight.detach()],
    ['ids', tensor([1, -2], { dtype: 'int32' })],
    ['mask', tensor([true, false])],
    ['scalar', tensor(3)],
    ['empty', zeros([0, 2])],
    ['parameter', tensor([1], { requiresGrad: true })],
    ['nested', [1, -1, 2.5, 2 ** 40, 2n ** 70n, -(2n ** 70n), true, null, 'größe', [], -Infinity]],
    ['numbers', new Map([[0, { a: 1, b: undefined }]])],
  ])
}

;(onCpu ? test : test.skip)('the same bytes as the file that Python has read', async (t) => {
  await io.torch.save(at('written.pt'), example())
  t.deepEqual(await readFile(at('written.pt')), await readFile(fixture('written.pt')))
})

test('what is saved comes back', async (t) => {
  await io.torch.save(at('again.pt'), example())
  const again = await io.torch.load(at('again.pt'))
  t.deepEqual(await plain(again), expected['written.pt'])
  t.is(again.get('weight')?.buffer, again.get('tied')?.buffer)
  t.true(again.get('parameter')?.requiresGrad)
  const gru = new nn.GRU(2, 3)
  await io.torch.save(at('gru.pt'), gru.stateDict())
  const other = new nn.GRU(2, 3)
  other.loadStateDict(await io.torch.load(at('gru.pt')))
  t.deepEqual(await other.parameters()[0]?.data(), await gru.parameters()[0]?.data())
})

test('what cannot be saved is named with its place', async (t) => {
  const refused = (value: unknown, message: RegExp) =>
    rejectsWith(t, io.torch.save(at('no.pt'), value), TypeError, message)
  await refused(new nn.Linear(1, 1), /\[torch\.save\] value: expected a tensor, .*got .*Linear/)
  await refused(new Map([['a', [() => 1]]]), /'a\.0': expected/)
  await refused({ a: { b: new Date() } }, /'a\.b': expected/)
  await refused({ a: undefined, b: Symbol.iterator }, /'b': expected/)
  await refused(new Map([[{}, 1]]), /a key: expected/)
  await refused(2n ** 3000n, /bigint of at most/)
  const circle: unknown[] = []
  circle.push(circle)
  await refused(circle, /without circles/)
  const gone = zeros([1])
  gone[Symbol.dispose]()
  await refused({ gone }, /disposed/)
  let deep: unknown = 1
  for (let i = 0; i < 1000; i++) deep = [deep]
  await rejectsWith(t, io.torch.save(at('no.pt'), deep), RangeError, /at most 256 containers/)
  t.false(existsSync(at('no.pt')))
  t.throws(() => pickled('f', undefined), { message: /value: expected/ })
})
