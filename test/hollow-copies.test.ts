/** JavaScript's own ways to copy and to calculate do not lose values in silence; the ways that work. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deserialize, serialize } from 'node:v8'
import { MessageChannel, Worker } from 'node:worker_threads'
import test from 'ava'
import { io, nn, ones, optim, Tensor, tensor, utils, zeros } from 'fused-rnn'
import { rejectsWith, testDevice, throwsWith } from './helpers.js'

const folder = mkdtempSync(join(tmpdir(), 'fused-rnn-copies-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

async function trained(): Promise<{ model: nn.Linear; optimizer: optim.Adam }> {
  const model = new nn.Linear(2, 3)
  const optimizer = new optim.Adam(model.parameters(), { amsgrad: true, lr: 0.1 })
  model
    .forward(ones([2], { device: testDevice }))
    .sum()
    .backward()
  await optimizer.step()
  return { model, optimizer }
}

test('JSON, structuredClone, postMessage and v8.serialize throw and say what to do', async (t) => {
  const { model, optimizer } = await trained()
  const parameter = nn.Parameter(ones([2]))
  const things: [name: string, value: unknown][] = [
    ['tensor', ones([2])],
    ['parameter', parameter],
    ['module', model],
    ['module without weights', new nn.Dropout(0.1)],
    ['state dict', model.stateDict()],
    ['optimizer', optimizer],
    ['optimizer’s state', optimizer.stateDict()],
    ['schedule', new optim.lrScheduler.StepLR(optimizer, 1)],
    ['packed', nn.utils.rnn.packSequence([ones([2, 1])])],
    ['in an array', [{ a: parameter }]],
    ['in a Map', [new Map([['a', parameter]])]],
  ]
  const { port1, port2 } = new MessageChannel()
  for (const [name, value] of things) {
    if (name !== 'in a Map') {
      const error = t.throws(() => JSON.stringify(value), { instanceOf: TypeError }, name)
      t.regex(error?.message ?? '', /^\[\w+\] toJSON: JSON cannot hold the values of tensors; \w+/)
    }
    for (const copy of [structuredClone, serialize, (it: unknown) => port1.postMessage(it)]) {
      const error = t.throws(() => copy(value), { any: true }, name) as Error
      t.is(error?.name, copy === serialize ? 'Error' : 'DataCloneError')
      t.regex(error?.message ?? '', /clone\(\).*utils\.toTransferable|could not be cloned/, name)
    }
  }
  port1.close()
  port2.close()
  const said = t.throws(() => structuredClone(parameter), { any: true }) as Error
  t.regex(said.message, /a tensor: copy it with clone\(\).*await utils\.toTransferable\(tensor\)/)
})

test('a copy of the fields alone is refused, with the way', (t) => {
  const x = ones([2])
  const way = /got the fields of a tensor without its values.*use clone\(\)/
  for (const copy of [{ ...x }, Object.assign({}, x)])
    throwsWith(t, () => x.add(copy as unknown as Tensor), TypeError, way)
  const module = { ...new nn.Linear(1, 1) }
  throwsWith(
    t,
    () => new nn.Sequential(module as unknown as nn.Module),
    TypeError,
    /^\[Sequential\] module: expected a module/,
  )
  const hollow: Tensor = Object.assign(Object.create(Tensor.prototype), x)
  throwsWith(t, () => hollow.add(1), TypeError, /^\[Tensor\] this is a copy of a tensor without/)
  throwsWith(t, () => x.add(hollow), TypeError, /^\[Tensor\] this is a copy of a tensor without/)
})

test('operators throw and name the methods', (t) => {
  const x = tensor([1]) as unknown as number
  const says = /^\[Tensor\] a tensor is no number and no text: use a\.add\(b\).*await t\.item\(\)/
  for (const calculate of [
    () => x + x,
    () => ['loss ', x].reduce((a, b) => (a as number) + (b as number)),
    () => x * 2,
    () => -x,
    // biome-ignore lint/suspicious/noDoubleEquals: that is what is tried
    () => x == 1,
    () => x < 1,
    () => Number(x),
    () => Math.max(x, 1),
    () => Float32Array.of(x),
    () => Number.isNaN(+x),
  ])
    throwsWith(t, calculate, TypeError, says)
  t.regex(`${x}`, /^Tensor\(shape=\(1,\), dtype=float32/)
  t.is([x].join(), String(x))
})

test('add and sub with alpha; slice with a step; gradients', async (t) => {
  const a = ones([2], { requiresGrad: true })
  const b = tensor([1, 2], { requiresGrad: true })
  const y = a.add(b, { alpha: 3 }).sub(b, { alpha: 0.5 })
  t.deepEqual([...(await y.data())], [3.5, 6])
  y.sum().backward()
  t.deepEqual([...((await a.grad?.data()) ?? [])], [1, 1])
  t.deepEqual([...((await b.grad?.data()) ?? [])], [2.5, 2.5])
  t.deepEqual([...(await a.add(2, { alpha: 3 }).data())], [7, 7])
  const i = tensor([1, 2], { dtype: 'int32' })
  t.is(i.add(i, { alpha: 2 }).dtype, 'int32')
  throwsWith(
    t,
    () => i.add(i, { alpha: 0.5 }),
    RangeError,
    /^\[add\] alpha: expected a whole number/,
  )
  throwsWith(
    t,
    () => a.add(b, { beta: 1 } as never),
    TypeError,
    /^\[add\] options: expected one of alpha/,
  )

  for (const size of [6, 7, 8]) {
    for (const [start, end, step] of [
      [0, size, 2],
      [1, size, 3],
      [2, 5, 2],
      [1, 2, 5],
      [0, size, size],
      [3, 3, 2],
    ] as const) {
      const row = Array.from({ length: size }, (_, k) => k)
      const x = tensor([row, row.map((k) => 10 * k)], { requiresGrad: true })
      const expected = row.filter((k) => k >= start && k < end && (k - start) % step === 0)
      for (const dim of [0, 1]) {
        const given = dim === 1 ? x : x.transpose(0, 1)
        const part = given.slice(dim, start, end, step)
        t.is(part.shape[dim], expected.length)
        const lines = dim === 1 ? part : part.transpose(0, 1)
        t.deepEqual([...(await lines.data())], [...expected, ...expected.map((k) => 10 * k)])
        x.grad = null
        part.mul(3).sum().backward()
        const mask = row.map((k) => (expected.includes(k) ? 3 : 0))
        t.deepEqual([...(await (x.grad as unknown as Tensor).data())], [...mask, ...mask])
      }
    }
  }
  throwsWith(
    t,
    () => ones([3]).slice(0, 0, 3, 0),
    RangeError,
    /^\[slice\] step: expected a whole number of at least 1/,
  )
})

test('step(closure) and zeroGrad({ setToNone: false })', async (t) => {
  const w = ones([2], { requiresGrad: true })
  const optimizer = new optim.SGD([w], { lr: 0.5 })
  for (const later of [false, true]) {
    let calls = 0
    const closure = (): Tensor => {
      calls++
      optimizer.zeroGrad()
      const loss = w.sum()
      loss.backward()
      return loss
    }
    const before = (await w.data())[0] as number
    const loss = await optimizer.step(later ? async () => closure() : closure)
    t.is(calls, 1)
    t.is(await loss.item(), 2 * before)
    t.is((await w.data())[0], before - 0.5)
  }
  await rejectsWith(
    t,
    optimizer.step(5 as never),
    TypeError,
    /^\[SGD\.step\] closure: expected a function/,
  )
  const failure = new Error('mine')
  const fails = optimizer.step(() => {
    throw failure
  })
  t.is(await t.throwsAsync(fails), failure)

  const module = new nn.Linear(1, 1)
  module
    .forward(ones([1]))
    .sum()
    .backward()
  const { grad } = module.weight
  module.zeroGrad({ setToNone: false })
  t.is(module.weight.grad, grad)
  t.is(await (grad as Tensor).item(), 0)
  new optim.SGD(module.parameters()).zeroGrad({ setToNone: true })
  t.is(module.weight.grad, null)
  throwsWith(t, () => module.zeroGrad({ set: 1 } as never), TypeError, /^\[zeroGrad\] options/)
})

test('a graph that is used up: the message says detach() first', (t) => {
  const rnn = new nn.RNN(1, 1)
  let state: Tensor | null = null
  const step = (): void => {
    const [y, h] = rnn.forward(ones([1, 1]), state)
    state = h
    y.sum().backward()
  }
  step()
  const error = t.throws(step)
  const [detach, retain] = ['state.detach()', 'retainGraph'].map((x) => error.message.indexOf(x))
  t.true((detach as number) > 0 && (detach as number) < (retain as number), error.message)
})

const bits = (x: Float32Array | Int32Array | Uint8Array): number[] => [...new Int32Array(x.buffer)]

test('toTransferable and back, through a port and a worker: bits, shapes, gradients wanted', async (t) => {
  const nan = new Float32Array(Int32Array.of(0x7fc12345, -0, 0x7f800001, -1).buffer)
  const w = tensor(nan, { shape: [2, 2], requiresGrad: true })
  const { model, optimizer } = await trained()
  const value = {
    w,
    again: [w],
    frozen: nn.Parameter(zeros([]), false),
    i: tensor([[1, -2]], { dtype: 'int32' }),
    empty: zeros([0, 3]),
    set: new Set([ones([1])]),
    state: model.stateDict(),
    optimizer: optimizer.stateDict(),
    n: Number.NaN,
    big: 10n,
    none: undefined,
    array: Float64Array.of(1.5),
  }
  const message = await utils.toTransferable(value)
  const { port1, port2 } = new MessageChannel()
  const arrived = new Promise<utils.TransferableTensors>((settle) => port2.once('message', settle))
  port1.postMessage(message, message.transferList)
  throwsWith(t, () => utils.fromTransferable(message), TypeError, /the sender's side/)
  const back = utils.fromTransferable<typeof value>(await arrived, { device: testDevice })
  port1.close()
  t.deepEqual(bits(await back.w.data()), bits(nan))
  t.deepEqual([back.w.shape, back.w.requiresGrad, back.w.device], [[2, 2], true, testDevice])
  t.is(back.again[0], back.w)
  t.is(back.i.dtype, 'int32')
  t.deepEqual([...(await back.i.data())], [1, -2])
  t.deepEqual(back.empty.shape, [0, 3])
  t.false(back.frozen.requiresGrad)
  t.deepEqual([back.n, back.big, back.none, back.array], [Number.NaN, 10n, undefined, value.array])
  t.is(back.set.size, 1)
  const other = await trained()
  other.model.loadStateDict(back.state)
  other.optimizer.loadStateDict(back.optimizer)
  t.deepEqual(await numbers(other.optimizer.stateDict()), await numbers(optimizer.stateDict()))
  t.throws(() => JSON.stringify(back.state))

  const worker = new Worker(
    `import('fused-rnn').then(async ({ utils }) => {
       const { parentPort } = await import('node:worker_threads')
       parentPort.once('message', async (message) => {
         const x = utils.fromTransferable(message)
         const answer = await utils.toTransferable(x.mul(2))
         parentPort.postMessage(answer, answer.transferList)
       })
     })`,
    { eval: true },
  )
  const sent = await utils.toTransferable(tensor([1, 2, 3]))
  const answer = new Promise<utils.TransferableTensors>((settle, fail) => {
    worker.once('message', settle).once('error', fail)
  })
  worker.postMessage(sent, sent.transferList)
  const doubled = utils.fromTransferable<Tensor>(await answer)
  t.deepEqual([...(await doubled.data())], [2, 4, 6])
  await worker.terminate()
})

test('a view is copied without the memory around it', async (t) => {
  const around = Float64Array.of(1, 2, 3, 4)
  const views = {
    buffer: Buffer.from('hi'),
    part: around.subarray(1, 3),
    bytes: new Uint8Array(around.buffer, 3, 5),
    view: new DataView(around.buffer, 8, 8),
    big: BigInt64Array.of(1n, 2n).subarray(1),
    none: around.subarray(4),
  }
  class Views extends nn.Module {
    views = views
    forward(): void {}
  }
  const { value } = await utils.toTransferable(views)
  for (const copies of [value as typeof views, new Views().clone().views]) {
    for (const [name, view] of Object.entries(views)) {
      const copy = copies[name as keyof typeof views]
      t.not(copy.buffer, view.buffer, name)
      t.is(copy.buffer.byteLength, view.byteLength, name)
      t.deepEqual(
        Buffer.from(copy.buffer),
        Buffer.from(view.buffer, view.byteOffset, view.byteLength),
      )
      const sent = copies === value && name === 'buffer'
      t.is(Object.getPrototypeOf(copy), sent ? Uint8Array.prototype : Object.getPrototypeOf(view))
    }
  }
  const shared = new Int32Array(new SharedArrayBuffer(8))
  const { value: same } = await utils.toTransferable(shared)
  Atomics.store(shared, 1, 5)
  t.is((same as Int32Array)[1], 5)
})

test('clone() refuses an optimiser and a scheduler, which would train the original', (t) => {
  const layer = new nn.Linear(1, 1)
  const optimizer = new optim.AdamW(layer.parameters())
  const schedule = new optim.lrScheduler.StepLR(optimizer, 1)
  const plateau = new optim.lrScheduler.ReduceLROnPlateau(optimizer)
  class Run {
    constructor(readonly inner: unknown) {}
  }
  class Net extends nn.Module {
    layer = layer
    constructor(readonly held: unknown) {
      super()
    }
    forward(): void {}
    protected override newInstance(): this {
      return new Net(new optim.SGD(layer.parameters())) as this
    }
  }
  for (const [held, says] of [
    [
      optimizer,
      /^\[clone\] field 'held' of Net is a AdamW, which trains .* make a new optimizer for/,
    ],
    [schedule, /field 'held' of Net is a StepLR/],
    [plateau, /field 'held' of Net is a ReduceLROnPlateau/],
    [{ all: [optimizer] }, /field 'held\.all\.0' of Net is a AdamW/],
    [new Map([['a', schedule]]), /field 'held\.a' of Net is a StepLR/],
    [new Run([{ schedule }]), /field 'held' of Net is a Run, which trains/],
  ] as const)
    throwsWith(t, () => new Net(held).clone(), TypeError, says)
  t.not(new Net(null).clone().layer, layer)
})

/** All numbers of a state, in order. */
async function numbers(value: unknown): Promise<unknown> {
  if (value instanceof Tensor) return [...(await value.data())]
  if (value instanceof Map) return numbers([...value])
  if (Array.isArray(value)) return Promise.all(value.map(numbers))
  if (typeof value === 'object' && value !== null) return numbers(Object.entries(value))
  return value
}

test('toTransferable and fromTransferable refuse the rest by its place', async (t) => {
  const circle: unknown[] = []
  circle.push({ circle })
  const wrong: [value: unknown, says: RegExp][] = [
    [new nn.Linear(1, 1), /value: expected tensors, .*stateDict\(\)/],
    [{ a: [() => 1] }, /value\.a\.0: expected data, got/],
    [circle, /value\.0\.circle: expected data without circles/],
    [
      new Map([['h', ones([1], { requiresGrad: true }).mul(2)]]),
      /value\.h: expected a tensor without history \(detach\(\)/,
    ],
    [{ __fusedRnnTensor: 1 }, /without the key/],
    [new (class Own {})(), /object of type Own/],
  ]
  for (const [value, says] of wrong)
    await rejectsWith(t, utils.toTransferable(value), TypeError, says)
  // biome-ignore lint/suspicious/noExplicitAny: anything may come
  type Sent = any
  const good = (): Promise<utils.TransferableTensors> => utils.toTransferable([ones([2])])
  for (const change of [
    (m: Sent) => (m.format = 'x'),
    (m: Sent) => (m.tensors = null),
    (m: Sent) => (m.tensors = [null]),
    (m: Sent) => (m.tensors = []),
    (m: Sent) => (m.tensors[0].shape = [3]),
    (m: Sent) => (m.tensors[0].shape = [2 ** 40]),
    (m: Sent) => (m.tensors[0].dtype = 'float64'),
    (m: Sent) => (m.tensors[0].values = new ArrayBuffer(4)),
    (m: Sent) => (m.tensors[0].requiresGrad = 1),
  ]) {
    const message = await good()
    change(message)
    t.throws(() => utils.fromTransferable(message), { message: /^\[fromTransferable\] / })
  }
  for (const other of [null, 5, 'x', {}, [], deserialize(serialize({}))])
    throwsWith(
      t,
      () => utils.fromTransferable(other as never),
      TypeError,
      /^\[fromTransferable\] message: expected what toTransferable gave/,
    )
})

test('io.save and io.load: an optimiser goes on from a file with the same bits', async (t) => {
  const { model, optimizer } = await trained()
  const file = join(folder, 'all.safetensors')
  const extra = { best: Infinity, list: [1, 'a', null, true], empty: new Map() }
  await io.save({ model: model.stateDict(), optimizer: optimizer.stateDict(), extra }, file)
  type All = { model: Map<string, Tensor>; optimizer: optim.OptimizerState; extra: typeof extra }
  const back = await io.load<All>(file)
  t.deepEqual(back.extra, extra)
  t.deepEqual(await numbers(back.model), await numbers(model.stateDict()))
  const other = new nn.Linear(2, 3)
  other.loadStateDict(back.model)
  const goesOn = new optim.Adam(other.parameters())
  goesOn.loadStateDict(back.optimizer)
  t.deepEqual(await numbers(goesOn.stateDict()), await numbers(optimizer.stateDict()))
  for (const [m, o] of [
    [model, optimizer],
    [other, goesOn],
  ] as const) {
    o.zeroGrad()
    m.forward(ones([2]))
      .sum()
      .backward()
    await o.step()
  }
  t.deepEqual(await numbers(other.parameters()), await numbers(model.parameters()))

  // The tensors are there for other programs, under the names of their places.
  await io.save(model.stateDict(), file)
  t.deepEqual([...(await io.safetensors.load(file)).keys()], ['weight', 'bias'])
  t.deepEqual([...(await io.load<Map<string, Tensor>>(file)).keys()], ['weight', 'bias'])
  // Names that meet keep their own tensors.
  const meet = new Map<string, unknown>([
    ['a.b', tensor([1])],
    ['a', { b: tensor([2]) }],
  ])
  await io.save(meet, file)
  t.deepEqual(await numbers(await io.load(file)), await numbers(meet))
  // A file of something else.
  await io.safetensors.save(file, new Map([['x', ones([1])]]))
  t.deepEqual([...(await io.load<Map<string, Tensor>>(file)).keys()], ['x'])
  await io.save(5, file)
  t.is(await io.load(file), 5)
})

test('io.save and io.load refuse what does not come back', async (t) => {
  const file = join(folder, 'never.safetensors')
  const wrong: [value: unknown, says: RegExp][] = [
    [
      new nn.Linear(1, 1),
      /^\[io\.save\] value: expected plain data.*, got an object of type Linear/,
    ],
    [{ a: new Set([1]) }, /a: expected plain data.*, got an object of type Set/],
    [[Float32Array.of(1)], /0: expected plain data.*, got an object of type Float32Array/],
    [{ f: () => 1 }, /f: expected plain data.*, got function f/],
    [{ $tensor: 'x' }, /an object without the key \$tensor/],
    [undefined, /value: expected plain data.*, got undefined/],
  ]
  for (const [value, says] of wrong) await rejectsWith(t, io.save(value, file), TypeError, says)
  await rejectsWith(t, io.load(file), Error, /no such file/)
  writeFileSync(file, 'x')
  await rejectsWith(t, io.load(file), Error, /too short/)
  for (const text of ['{', '5', '{"version":2}', '{"version":1,"value":{"$tensor":"y"}}']) {
    await io.safetensors.save(file, new Map(), { metadata: { 'fused-rnn': text } })
    await rejectsWith(t, io.load(file), Error, /^\[io\.load\] .*: what is beside the tensors is /)
  }
})

test('what was read from files is no more JSON than what is written', async (t) => {
  const path = join(folder, 'read.safetensors')
  const state = { model: new Map([['w', ones([2])]]), epoch: 3 }
  await io.save(state, path)
  throwsWith(t, () => JSON.stringify(state.model.get('w')), TypeError, /toJSON/)
  const read = await io.load(path)
  throwsWith(t, () => JSON.stringify(read), TypeError, /JSON cannot hold the values/)
  const { tensors } = await io.safetensors.loadWithMetadata(path)
  throwsWith(t, () => JSON.stringify(tensors), TypeError, /JSON cannot hold the values/)
  const bytes = await io.safetensors.serialize(new Map([['w', ones([2])]]))
  const parsed = io.safetensors.parse(bytes).tensors
  throwsWith(t, () => JSON.stringify(parsed), TypeError, /JSON cannot hold the values/)
})

test('a tensor is not an empty list of numbers', (t) => {
  const x = ones([3])
  const message = /\[Tensor\] a tensor cannot be iterated over: use await t\.data\(\)/
  for (const read of [
    () => Array.from(x as never),
    () => new Float32Array(x as never),
    () => Float32Array.from(x as never),
    () => [...(x as unknown as Iterable<number>)],
    () => new Set(x as never),
  ])
    throwsWith(t, read, TypeError, message)
})

test('what is no object of options is refused as one', (t) => {
  const parameters = new nn.Linear(1, 1).parameters()
  for (const options of [
    Promise.resolve({ lr: 1 }),
    new Map([['lr', 1]]),
    new Set(),
    new Date(),
    [1],
  ])
    throwsWith(
      t,
      () => new optim.Adam(parameters, options as never),
      TypeError,
      /\[Adam\] options: expected an object of options, got/,
    )
})
