/**
 * Seeded randomness. A generator is a seed and a counter; there is one per environment, and one more
 * for each Trainer with a seed. Every random operation takes the next counter value, and the native side derives its numbers from (seed, counter,
 * element) with Philox 4x32-10 (Salmon et al. 2011), so they do not depend on thread count.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { checkInteger } from './errors.js'

/** What {@link randomState} gives: plain data, to be stored. */
export interface RandomState {
  seed: number
  counter: number
}

const shared: RandomState = { seed: Math.floor(Math.random() * 2 ** 48), counter: 0 }

/** The generator of the calls that are being made, and of what they go on to call, where it is not the shared one. */
const own = new AsyncLocalStorage<RandomState>()
/** Calls of {@link withRandom} that are not over. */
let running = 0

function current(): RandomState {
  return own.getStore() ?? shared
}

/**
 * Calls `work`, which draws from a generator of its own, also after each `await`; others draw from
 * theirs meanwhile. Internal.
 */
export async function withRandom<R>(generator: RandomState, work: () => Promise<R>): Promise<R> {
  running++
  try {
    return await own.run(generator, work)
  } finally {
    // Following every promise costs time, in some versions of Node in the whole process.
    if (--running === 0) own.disable()
  }
}

/**
 * Starts the random numbers anew; as `torch.manual_seed`. `seed`: a whole number in [0, 2^53). In a
 * training with a seed of its own (`new Trainer({ seed })`), those of this training.
 */
export function manualSeed(seed: number): void {
  setRandomState({ seed: checkInteger('manualSeed', 'seed', seed, 0), counter: 0 })
}

/** What {@link setRandomState} needs to go on from here. */
export function randomState(): RandomState {
  return { ...current() }
}

/** Goes on from what {@link randomState} gave. @throws TypeError when it is something else */
export function setRandomState(saved: RandomState): void {
  const seed = checkInteger('setRandomState', 'seed', saved?.seed, 0)
  const counter = checkInteger('setRandomState', 'counter', saved?.counter, 0)
  Object.assign(current(), { seed, counter })
}

/** The seed and counter for one operation; the counter moves on. Internal. */
export function nextRandom(): RandomState {
  const generator = current()
  return { seed: generator.seed, counter: generator.counter++ }
}
