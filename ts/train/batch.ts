/** Batches of any kind, where the model is. */
import { types } from 'node:util'
import { isPlainObject } from '../copies.js'
import { typeError } from '../errors.js'
import type { Module } from '../nn/module.js'
import { PackedSequence } from '../nn/packed_sequence.js'
import { Tensor } from '../tensor.js'

/** The device of a model's parameters, or else of its buffers; null when it has none. */
export function deviceOf(model: Module): string | null {
  return (model.parameters()[0] ?? model.buffers()[0])?.device ?? null
}

/**
 * A batch with all its tensors on a device: those in arrays, maps and plain objects, and packed
 * sequences. The batch itself when nothing has to move.
 */
export function batchOn<B>(batch: B, device: string | null): B {
  return device === null ? batch : (on(batch, device, []) as B)
}

/** @param around the objects that the value is in */
function on(value: unknown, device: string, around: readonly object[]): unknown {
  if (value instanceof Tensor || value instanceof PackedSequence) return value.to(device)
  if (typeof value !== 'object' || value === null) return value
  if (around.includes(value))
    throw typeError('fit', 'batch', 'a batch that does not contain itself', value)
  const inside = [...around, value]
  if (Array.isArray(value)) {
    const moved = value.map((item) => on(item, device, inside))
    return moved.some((item, i) => item !== value[i]) ? moved : value
  }
  if (types.isMap(value)) {
    const moved = new Map([...value].map(([key, item]) => [key, on(item, device, inside)]))
    return [...moved].some(([key, item]) => item !== value.get(key)) ? moved : value
  }
  if (!isPlainObject(value)) return value
  const entries = Object.entries(value)
  const moved = entries.map(([key, item]) => [key, on(item, device, inside)] as const)
  return moved.some(([, item], i) => item !== entries[i]?.[1]) ? Object.fromEntries(moved) : value
}
