/** `new Trainer({ seed })`: random numbers of its own. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import {
  type Callback,
  manualSeed,
  nn,
  ones,
  optim,
  rand,
  randomState,
  setRandomState,
  type Tensor,
  Trainer,
  type TrainerOptions,
} from 'fused-rnn'

// Serial: they compare the shared generator's numbers.

class Noisy extends nn.Module {
  readonly drop = new nn.Dropout(0.5)
  readonly linear: nn.Linear

  constructor() {
    super()
    const random = randomState()
    this.linear = new nn.Linear(8, 1)
    setRandomState(random) // the layers have drawn
    nn.init.constant(this.linear.weight, 1)
    nn.init.zeros(this.linear.bias as Tensor)
  }

  override forward(x: Tensor): Tensor {
    return this.linear.forward(this.drop.forward(x)).sum()
  }

  async trainingStep(x: Tensor): Promise<Tensor> {
    // Others' turn between two draws.
    const first = this.forward(x)
    await new Promise((resolve) => setImmediate(resolve))
    return first.add(this.forward(x))
  }
}

const batches = () => Array.from({ length: 5 }, () => ones([3, 8]))

async function trained(
  options: TrainerOptions,
  model = new Noisy(),
  ckptPath?: string,
): Promise<number[]> {
  const trainer = new Trainer({ maxEpochs: 3, progressBar: false, ...options })
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.01 })
  await trainer.fit(model, batches(), null, {
    optimizer,
    ...(ckptPath !== undefined && { ckptPath }),
  })
  return [...(await model.linear.weight.data())]
}

test.serial('the same beside other trainings and other draws', async (t) => {
  const alone = await trained({ seed: 1 })
  const other = await trained({ seed: 2 })
  t.notDeepEqual(alone, other)
  manualSeed(3)
  const shared = await trained({})
  let over = false
  const draws = async () => {
    while (!over) {
      rand([2])[Symbol.dispose]()
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const drawing = draws()
  const [one, two, again] = await Promise.all([
    trained({ seed: 1 }),
    trained({ seed: 2 }),
    trained({ seed: 1 }),
  ])
  over = true
  await drawing
  t.deepEqual([one, two, again], [alone, other, alone])
  manualSeed(3)
  const [beside] = await Promise.all([trained({}), trained({ seed: 2 })])
  t.deepEqual(beside, shared)
})

test.serial("others' draws are not disturbed, nor are they by an inner training", async (t) => {
  manualSeed(7)
  const before = randomState()
  await trained({ seed: 1 })
  t.deepEqual(randomState(), before)

  const alone = await trained({ seed: 1 })
  const within: Callback = {
    async onTrainEpochEnd() {
      await trained({ seed: 5 })
    },
  }
  t.deepEqual(await trained({ seed: 1, callbacks: [within] }), alone)
  const seen: number[] = []
  const draws: Callback = {
    onFitStart() {
      manualSeed(9)
      seen.push(randomState().seed)
    },
  }
  await trained({ seed: 1, callbacks: [draws] })
  t.deepEqual([...seen, randomState().seed], [9, 7])
})

test.serial('a second fit and a checkpoint go on with the same numbers', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-seed-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const straight = await trained({ seed: 1 })

  const model = new Noisy()
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.01 })
  const trainer = new Trainer({ maxEpochs: 1, progressBar: false, seed: 1 })
  await trainer.fit(model, batches(), null, { optimizer })
  // Not within fit: still of the trainer's generator.
  await trainer.saveCheckpoint(join(folder, 'c'))
  manualSeed(11)
  trainer.maxEpochs = 3
  await trainer.fit(model, batches(), null, { optimizer })
  t.deepEqual([...(await model.linear.weight.data())], straight)

  for (const seed of [1, 4]) {
    manualSeed(12)
    t.deepEqual(await trained({ seed }, new Noisy(), join(folder, 'c')), straight)
    t.is(randomState().seed, 12)
  }
})
