/**
 * Seeded randomness. One generator per environment: a seed and a counter. Every random operation
 * takes the next counter value, and the native side derives its numbers from (seed, counter,
 * element) with Philox 4x32-10 (Salmon et al. 2011), so they do not depend on thread count.
 */
import { checkInteger } from './errors.js'

/** What {@link randomState} gives: plain data, to be stored. */
export interface RandomState {
  seed: number
  counter: number
}

const state: RandomState = { seed: Math.floor(Math.random() * 2 ** 48), counter: 0 }

/** Starts the random numbers anew; as `torch.manual_seed`. `seed`: a whole number in [0, 2^53). */
export function manualSeed(seed: number): void {
  state.seed = checkInteger('manualSeed', 'seed', seed, 0)
  state.counter = 0
}

/** What {@link setRandomState} needs to go on from here. */
export function randomState(): RandomState {
  return { ...state }
}

/** Goes on from what {@link randomState} gave. @throws TypeError when it is something else */
export function setRandomState(saved: RandomState): void {
  const seed = checkInteger('setRandomState', 'seed', saved?.seed, 0)
  const counter = checkInteger('setRandomState', 'counter', saved?.counter, 0)
  state.seed = seed
  state.counter = counter
}

/** The seed and counter for one operation; the counter moves on. Internal. */
export function nextRandom(): RandomState {
  return { seed: state.seed, counter: state.counter++ }
}
