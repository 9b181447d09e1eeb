/** Tensors, storages and names as a pickle tells of them, before any values are read. */
import { checkShape } from '../../tensor.js'
import { DTYPES, type FileDType } from '../dtypes.js'
import { refusal, STORAGES, TORCH_DTYPES } from './names.js'
import { damaged } from './pickle_reader.js'

/** Where the values of tensors lie: a file of the archive. */
export interface Storage {
  key: string
  dtype: FileDType
  /** Elements. */
  numel: number
}

/** A tensor whose values have not been read. */
export class PickledTensor {
  constructor(
    readonly storage: Storage,
    readonly dtype: FileDType,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
    readonly requiresGrad: boolean,
  ) {}
}

/** A class or function by its name. */
export class Name {
  constructor(readonly name: string) {}
}

/** A storage, which tensors refer to. */
export class StorageRef {
  constructor(readonly storage: Storage) {}
}

/**
 * What may stand in the result: a type's name for a type, a tensor for a storage.
 * @throws Error for other names
 */
export function leafOf(value: unknown, near: () => string | null = () => null): unknown {
  if (value instanceof StorageRef)
    return tensorOf([value, 0, [value.storage.numel], [1], false], null)
  if (!(value instanceof Name)) return value
  const dtype = value.name.startsWith('torch.') ? value.name.slice(6) : ''
  if (TORCH_DTYPES.has(dtype)) return dtype
  throw refusal(value.name, near())
}

/** @param as the type of the elements; null: the storage's */
export function tensorOf(given: readonly unknown[], as: FileDType | null): PickledTensor {
  const [ref, offset, shape, strides, requiresGrad] = given
  if (!(ref instanceof StorageRef)) throw damaged('a tensor has no storage')
  if (!isSize(offset) || !isSizes(shape) || !isSizes(strides) || shape.length !== strides.length)
    throw damaged('a tensor has no offset, shape or strides of whole numbers')
  const { storage } = ref
  const dtype = as ?? storage.dtype
  const elements = Math.floor((storage.numel * DTYPES[storage.dtype].bytes) / DTYPES[dtype].bytes)
  checkShape('shape', shape)
  const last = shape.reduce((sum, size, i) => sum + (size - 1) * (strides[i] as number), offset)
  if (!shape.includes(0) && !(last < elements))
    throw damaged(`a tensor needs element ${last} of a storage of ${elements}`)
  return new PickledTensor(storage, dtype, offset, shape, strides, requiresGrad === true)
}

/** What a reference beside the pickle means. */
export function storageOf(id: unknown): Storage {
  const [kind, type, key, , numel] = Array.isArray(id) ? id : []
  const dtype = type instanceof Name ? STORAGES.get(type.name) : undefined
  if (kind !== 'storage' || dtype === undefined || typeof key !== 'string' || !isSize(numel))
    throw damaged('what stands for a storage is none')
  return { key, dtype, numel }
}

/** What a dict or a set here can find again. */
export function keyOf(value: unknown): unknown {
  if (value !== null && typeof value === 'object')
    throw new Error(
      `it has a dict or a set with ${Array.isArray(value) ? 'a tuple' : 'an object'} as a key; only texts, numbers, bools and None are known as keys`,
    )
  return value
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isSize)
}
