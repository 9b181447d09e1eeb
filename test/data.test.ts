import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { data, manualSeed } from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

const count = (n: number): Int32Array => Int32Array.from({ length: n }, (_, i) => i)

async function contents(
  batches: Iterable<data.Batch>,
): Promise<{ input: number[]; target: number[]; shape: number[]; reset: boolean }[]> {
  const all = []
  for (const { input, target, reset } of batches) {
    all.push({
      input: [...(await input.data())],
      target: [...(await target.data())],
      shape: [...input.shape],
      reset,
    })
  }
  return all
}

test('tokenizer: code points, words, newlines, cleaning', (t) => {
  t.deepEqual(new data.Tokenizer().tokenize('a😀b'), ['a', '😀', 'b'])
  const words = new data.Tokenizer({ level: 'word' })
  t.deepEqual(words.tokenize(' the cat \n\tsat\r\n\non'), [
    'the',
    'cat',
    '<eos>',
    'sat',
    '<eos>',
    '<eos>',
    'on',
  ])
  t.is(words.join(['the', 'cat', '<eos>', 'sat', '<eos>']), 'the cat\nsat\n')
  const letters = new data.Tokenizer({ lowerCase: true, lettersOnly: true })
  t.is(letters.tokenize("It's  5 o'Clock!\nYes").join(''), 'it s o clock yes')
  throwsWith(
    t,
    () => new data.Tokenizer({ level: 'line' as 'word' }),
    TypeError,
    /\[Tokenizer\] level: expected one of 'char', 'word', got 'line'/,
  )
  throwsWith(
    t,
    () => words.tokenize(5 as unknown as string),
    TypeError,
    /\[Tokenizer\] text: expected a string, got 5/,
  )
})

test('tokenizer: line ends of other systems are newlines, unless they are kept', (t) => {
  const text = 'a b\r\nc\rd\n\r\n'
  t.is(new data.Tokenizer().tokenize(text).join(''), 'a b\nc\nd\n\n')
  const eos = '<eos>'
  const words = ['a', 'b', eos, 'c', eos, 'd', eos, eos]
  t.deepEqual(new data.Tokenizer({ level: 'word' }).tokenize(text), words)
  t.is(new data.Tokenizer({ keepCr: true }).tokenize(text).join(''), text)
  t.false(data.Vocabulary.fromText(text).has('\r'))
  const kept = data.Vocabulary.fromText(text, { tokenizer: { keepCr: true } })
  t.true(kept.has('\r'))
  t.deepEqual(data.Vocabulary.fromJSON(kept.toJSON()).encode(text), kept.encode(text))
  // One that was saved before there was the option.
  const { keepCr: _, ...old } = kept.toJSON().tokenizer
  const loaded = data.Vocabulary.fromJSON({ ...kept.toJSON(), tokenizer: old })
  t.deepEqual(loaded.encode(text), kept.encode(text))
})

test('vocabulary: order, frequencies, special and unknown tokens', (t) => {
  const v = data.Vocabulary.fromTokens(['b', 'a', 'c', 'a', 'b', 'd'])
  t.deepEqual(v.tokens, ['<unk>', 'a', 'b', 'c', 'd'])
  t.is(v.size, 5)
  t.deepEqual(v.encode(['d', 'x']), Int32Array.of(4, 0))
  const frequent = data.Vocabulary.fromTokens('b a c a b d a'.split(' '), {
    minFrequency: 2,
    specialTokens: ['<pad>', 'd'],
  })
  t.deepEqual(frequent.tokens, ['<unk>', '<pad>', 'd', 'a', 'b'])
  t.deepEqual(
    data.Vocabulary.fromTokens('b a c a b d a'.split(' '), { maxSize: 2, unknownToken: null })
      .tokens,
    ['a', 'b'],
  )
  throwsWith(
    t,
    () => data.Vocabulary.fromTokens(['a'], { unknownToken: null }).encode('b'),
    RangeError,
    /token of this vocabulary .* got 'b'/,
  )
  throwsWith(t, () => v.token(5), RangeError, /\[Vocabulary\] index: .*between 0 and 4, got 5/)
  throwsWith(t, () => v.decode([0, -1]), RangeError, /index/)
  throwsWith(
    t,
    () => new data.Vocabulary(['a', 'a']),
    RangeError,
    /tokens\[1\]: expected distinct tokens, got 'a' a second time/,
  )
  throwsWith(t, () => new data.Vocabulary([]), RangeError, /at least one token/)
  throwsWith(t, () => new data.Vocabulary([1 as unknown as string]), TypeError, /tokens\[0\]/)
  throwsWith(t, () => new data.Vocabulary(['a'], { unknownToken: 'b' }), RangeError, /unknownToken/)
  throwsWith(t, () => v.encode(5 as unknown as string), TypeError, /\[Vocabulary.encode\] source/)
  throwsWith(t, () => data.Vocabulary.fromTokens('ab'), TypeError, /tokens/)
  throwsWith(
    t,
    () => data.Vocabulary.fromText('ab', { minFreq: 1 } as object),
    TypeError,
    /minFreq/,
  )
})

test('vocabulary: texts there and back, JSON', (t) => {
  const text = 'the cat sat\nthe mat sat\n'
  const v = data.Vocabulary.fromText(text, { tokenizer: { level: 'word' } })
  t.deepEqual(v.tokens, ['<unk>', '<eos>', 'sat', 'the', 'cat', 'mat'])
  t.deepEqual(v.encode(text), Int32Array.of(3, 4, 2, 1, 3, 5, 2, 1))
  t.is(v.decode(v.encode(text)), text)
  const again = data.Vocabulary.fromJSON(JSON.parse(JSON.stringify(v)))
  t.deepEqual(again.encode('the dog'), Int32Array.of(3, 0))
  t.is(again.tokenizer.level, 'word')
  throwsWith(t, () => data.Vocabulary.fromJSON({}), TypeError, /tokens/)
  throwsWith(t, () => data.Vocabulary.fromJSON(null), TypeError, /\[Vocabulary.fromJSON\] json/)
  throwsWith(
    t,
    () => data.Vocabulary.fromText('aaaa'),
    RangeError,
    /at least two different characters, got only "a"/,
  )
  throwsWith(
    t,
    () => data.Vocabulary.fromText('', { tokenizer: { level: 'word' } }),
    RangeError,
    /at least two different words, got none/,
  )
})

test('loadText: a text, and what is none', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-data-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const file = async (bytes: Uint8Array | string): Promise<string> => {
    const path = join(folder, 'text')
    await writeFile(path, bytes)
    return path
  }
  t.is(await data.loadText(await file('naïve 😀\n')), 'naïve 😀\n')
  await rejectsWith(
    t,
    data.loadText(join(folder, 'none')),
    Error,
    /\[loadText\] cannot read '.*none': there is no such file/,
  )
  await rejectsWith(t, data.loadText(folder), Error, /it is a folder/)
  await rejectsWith(t, data.loadText(await file('')), RangeError, /is empty/)
  await rejectsWith(
    t,
    data.loadText(await file(Uint8Array.of(65, 0, 66))),
    TypeError,
    /not a text file: it has bytes of value 0/,
  )
  await rejectsWith(
    t,
    data.loadText(await file(Uint8Array.of(65, 0xff, 66))),
    TypeError,
    /not valid UTF-8 \(0xFF at line 1, byte offset 1\); if it is Latin-1, read it with \{ encoding: 'latin1' \}$/,
  )
  await rejectsWith(t, data.loadText(5 as unknown as string), TypeError, /path/)
})

test('loadText: encodings, marks, and the place of what is no text', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-data-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const load = async (bytes: Uint8Array, encoding?: string): Promise<string> => {
    const path = join(folder, 'text')
    await writeFile(path, bytes)
    return data.loadText(path, encoding === undefined ? {} : { encoding })
  }
  const text = 'hallo\nGrüße 😀\n'
  const little = Buffer.from(text, 'utf16le')
  const big = Buffer.from(little).swap16()
  const mark = (bytes: Uint8Array, ...before: number[]) => Buffer.from([...before, ...bytes])
  const latin = Buffer.from('hallo\nGrüße\n', 'latin1')
  for (const [bytes, encoding] of [
    [mark(Buffer.from(text), 0xef, 0xbb, 0xbf), undefined],
    [mark(little, 0xff, 0xfe), undefined],
    [mark(big, 0xfe, 0xff), undefined],
    [mark(big, 0xfe, 0xff), 'utf-16'],
    [little, 'utf16le'],
    [little, 'UTF-16LE'],
    [big, 'utf-16be'],
  ] as const)
    t.is(await load(bytes, encoding), text)
  for (const name of ['latin1', 'ISO-8859-1', 'windows-1252'])
    t.is(await load(latin, name), 'hallo\nGrüße\n')
  const high = Uint8Array.of(0x80, 0x93, 0x9f)
  t.is(await load(high, 'windows-1252'), '€“Ÿ')
  t.is(await load(high, 'latin1'), '\x80\x93\x9f')
  t.is(await load(Uint8Array.of(0x93, 0x41), 'shift_jis'), '鄭')

  const wrong: [bytes: Uint8Array, encoding: string | undefined, message: RegExp][] = [
    [latin, undefined, /0xFC at line 2, byte offset 8\); if it is Latin-1/],
    [Buffer.concat([latin, high]), undefined, /; if it is Windows-1252, .*'windows-1252' \}$/],
    [Buffer.from('a\ncafé', 'latin1'), undefined, /ends within a character .*line 2.*Latin-1/],
    [little, undefined, /value 0 \(at line 1, byte offset 1\); if it is UTF-16LE/],
    [big, undefined, /; if it is UTF-16BE, read it with \{ encoding: 'utf-16be' \}$/],
    [mark(little, 0xff, 0xfe, 0, 0), undefined, /UTF-32; convert it: iconv/],
    [mark(little, 0xff, 0xfe), 'latin1', /mark \(BOM\) of UTF-16LE, and encoding 'latin1'/],
    [Uint8Array.of(65, 0, 0, 0xd8, 66, 0), 'utf-16le', /UTF-16LE \(0x00 at line 1, byte offset 2/],
    [Uint8Array.of(65, 0, 66), 'utf-16le', /ends within a character/],
    [Uint8Array.of(65, 10, 0x93, 10, 65), 'shift_jis', /SHIFT_JIS \(0x\w\w at line 2/],
    [Uint8Array.of(65), 'no-such', /encoding: expected the name of an encoding .*'latin1'/],
    [Uint8Array.of(65), 5 as unknown as string, /encoding: expected a string, got 5/],
    // Over the end of a piece, and in lines that end as those of old Macs.
    [
      Buffer.concat([Buffer.alloc(2 ** 19 - 1, 'é\n'), Buffer.from('x')]),
      undefined,
      /line 174763, byte offset 524286/,
    ],
    [Buffer.from('a\rb\r\xff', 'latin1'), undefined, /at line 3/],
  ]
  for (const [bytes, encoding, message] of wrong)
    await rejectsWith(t, load(bytes, encoding), TypeError, message)
  await rejectsWith(t, load(Uint8Array.of(0xef, 0xbb, 0xbf)), RangeError, /is empty/)
})

test('split: first and last part of the same memory', (t) => {
  const tokens = count(10)
  const [train, valid] = data.split(tokens, 0.2)
  t.deepEqual([train.length, valid.length, valid[0]], [8, 2, 8])
  t.is(train.buffer, tokens.buffer)
  throwsWith(
    t,
    () => data.split(tokens, 0.01),
    RangeError,
    /leaves tokens on both sides of a text of 10, got 0.01/,
  )
  throwsWith(t, () => data.split(tokens, 2), RangeError, /between 0 and 1/)
  throwsWith(t, () => data.split([1, 2] as unknown as Int32Array), TypeError, /Int32Array/)
})

test('sequential batches: rows side by side, shifted targets, a shorter last window', async (t) => {
  const batches = new data.SequentialBatches(count(13), { batchSize: 2, sequenceLength: 3 })
  t.is(batches.length, 2)
  t.deepEqual(await contents(batches), [
    { input: [0, 6, 1, 7, 2, 8], target: [1, 7, 2, 8, 3, 9], shape: [3, 2], reset: true },
    { input: [3, 9, 4, 10], target: [4, 10, 5, 11], shape: [2, 2], reset: false },
  ])
  const whole = new data.SequentialBatches(count(13), {
    batchSize: 2,
    sequenceLength: 3,
    dropLast: true,
  })
  t.is(whole.length, 1)
  t.is((await contents(whole)).length, 1)
})

test('random windows: every window once, another order every epoch, the same for a seed', async (t) => {
  const make = (seed: number): data.RandomWindows =>
    new data.RandomWindows(count(50), { batchSize: 4, sequenceLength: 5, seed })
  const batches = make(7)
  const first = await contents(batches)
  const second = await contents(batches)
  t.is(first.length, batches.length)
  t.is(first.length, 3)
  t.deepEqual(first.at(-1)?.shape, [5, 1])
  t.true(
    first.every((batch) => batch.reset && batch.input.every((x, i) => batch.target[i] === x + 1)),
  )
  const seen = first.flatMap((batch) => batch.input)
  t.is(new Set(seen).size, 45)
  t.notDeepEqual(first, second)
  const again = make(7)
  t.deepEqual([await contents(again), await contents(again)], [first, second])
  t.notDeepEqual(await contents(make(8)), first)
  t.deepEqual(await contents(make(7).batches(1)), second)

  manualSeed(3)
  const drawn = await contents(
    new data.RandomWindows(count(50), { batchSize: 4, sequenceLength: 5 }),
  )
  manualSeed(3)
  t.deepEqual(
    await contents(new data.RandomWindows(count(50), { batchSize: 4, sequenceLength: 5 })),
    drawn,
  )
  t.is(
    (await contents(new data.RandomWindows(count(6), { batchSize: 1, sequenceLength: 5, seed: 1 })))
      .length,
    1,
  )
})

test('random windows that overlap: as many as there are first tokens', async (t) => {
  const options = { batchSize: 10, sequenceLength: 5, stride: 1, seed: 1 }
  const batches = new data.RandomWindows(count(45), options)
  const all = await contents(batches)
  const firsts = all.flatMap(({ input }) => input.slice(0, 10))
  t.deepEqual(
    firsts.sort((a, b) => a - b),
    [...count(40)],
  )
  // Two apart: from an even or an odd token on.
  const apart = new data.RandomWindows(count(45), { ...options, stride: 2 })
  const parities = new Set<number>()
  for (let epoch = 0; epoch < 8; epoch++) {
    const found = (await contents(apart.batches(epoch))).flatMap(({ input }) => input.slice(0, 10))
    t.is(found.length, 20)
    t.is(new Set(found).size, 20)
    t.is(new Set(found.map((first) => first % 2)).size, 1)
    parities.add((found[0] ?? 0) % 2)
  }
  t.is(parities.size, 2)
  throwsWith(
    t,
    () => new data.RandomWindows(count(45), { ...options, stride: 0 }),
    RangeError,
    /\[RandomWindows\] stride/,
  )
  throwsWith(t, () => apart.restore(batches.state()), RangeError, /stride: expected 2, .* got 1/)
})

test('batches: going on where a state was taken', async (t) => {
  for (const make of [
    () => new data.RandomWindows(count(60), { batchSize: 2, sequenceLength: 4 }),
    () => new data.SequentialBatches(count(60), { batchSize: 2, sequenceLength: 4 }),
  ]) {
    const batches = make()
    for (const _ of batches);
    const rest = []
    let state: data.BatchesState | null = null
    for (const batch of batches) {
      if (state !== null) rest.push(batch)
      else if (batches.state().position === 2) state = JSON.parse(JSON.stringify(batches.state()))
    }
    const next = await contents(batches)
    t.is(state?.epoch, 1)
    const other = make()
    other.restore(state as data.BatchesState)
    t.deepEqual(await contents(other), await contents(rest))
    t.deepEqual(await contents(other), next)
    throwsWith(
      t,
      () => other.restore({ ...other.state(), tokens: 61 }),
      RangeError,
      /\[restore\] tokens: expected 60, .* got 61/,
    )
    throwsWith(t, () => other.restore({ ...other.state(), position: 99 }), RangeError, /position/)
  }
})

test('batches: texts that are too short, wrong options', (t) => {
  for (const Batches of [data.SequentialBatches, data.RandomWindows]) {
    throwsWith(
      t,
      () => new Batches(new Int32Array(0), { batchSize: 1, sequenceLength: 1 }),
      RangeError,
      /expected a text, got an empty one/,
    )
    throwsWith(
      t,
      () => new Batches(count(5), { batchSize: 1, sequenceLength: 5 }),
      RangeError,
      /sequenceLength: expected a window shorter than the text of 5 tokens, got 5/,
    )
    throwsWith(
      t,
      () => new Batches(count(9), { batchSize: 5, sequenceLength: 3 }),
      RangeError,
      /batchSize: expected at most \d .* from a text of 9 tokens, got 5/,
    )
    throwsWith(
      t,
      () => new Batches(count(9), { batchSize: 0, sequenceLength: 3 }),
      RangeError,
      /batchSize/,
    )
    throwsWith(
      t,
      () => new Batches(count(9), { batchSize: 1, sequenceLength: 1.5 }),
      RangeError,
      /sequenceLength: expected a whole number, got 1.5/,
    )
    throwsWith(
      t,
      () => new Batches([1, 2, 3] as unknown as Int32Array, { batchSize: 1, sequenceLength: 1 }),
      TypeError,
      /tokens: expected an Int32Array/,
    )
    throwsWith(
      t,
      () => new Batches(count(9), { batchSize: 1, sequenceLength: 1, shuffle: true } as never),
      TypeError,
      /shuffle/,
    )
  }
})
