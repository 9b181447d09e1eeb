/** Whether a state dict fits a module: keys, shapes and types, with all that is wrong in one error. */
import { types } from 'node:util'
import { checkBoolean, checkOptions, checkString, formatShape, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'

/** What loadStateDict takes. */
export interface LoadStateDictOptions {
  /** Refuse missing and unexpected keys. Default true. */
  strict?: boolean
  /**
   * What the keys begin with and the module's do not: 'module.' of DistributedDataParallel, 'model.' of a
   * Lightning module. It is taken off; a key that does not begin with it is unexpected. Default: ''.
   */
  prefix?: string
}

/** What a state dict and a module do not share. */
export interface IncompatibleKeys {
  /** Parameters of the module that the map does not have. */
  missingKeys: string[]
  /** Keys of the map that the module does not have. */
  unexpectedKeys: string[]
}

/** What is to be copied where, and what the two do not share. */
export interface StateFit extends IncompatibleKeys {
  copies: [parameter: Tensor, value: Tensor][]
}

const FN = 'loadStateDict'

/**
 * @param module its name, for messages
 * @param own the module's parameters and buffers under all their names
 * @throws RangeError that lists all that does not fit; TypeError for what is no state dict
 */
export function fitState(
  module: string,
  own: ReadonlyMap<string, Tensor>,
  given: ReadonlyMap<string, Tensor>,
  options: LoadStateDictOptions,
): StateFit {
  if (!types.isMap(given)) throw typeError(FN, 'state', 'a Map of tensors', given)
  checkOptions(FN, options, ['strict', 'prefix'])
  const strict = checkBoolean(FN, 'strict', options.strict ?? true)
  const prefix = checkString(FN, 'prefix', options.prefix ?? '')
  /** By the module's names; and the keys that have none. */
  const state = new Map<string, Tensor>()
  const unexpectedKeys: string[] = []
  for (const [key, value] of given) {
    const name = String(key).startsWith(prefix) ? String(key).slice(prefix.length) : null
    if (name !== null && own.has(name)) state.set(name, value)
    else unexpectedKeys.push(key)
  }
  const missingKeys = [...own.keys()].filter((name) => !state.has(name))
  const problems: string[] = []
  if (strict && missingKeys.length > 0) problems.push(`missing keys: ${list(missingKeys)}`)
  if (strict && unexpectedKeys.length > 0) problems.push(`unexpected keys: ${list(unexpectedKeys)}`)
  const copies: [Tensor, Tensor][] = []
  for (const [name, parameter] of own) {
    if (!state.has(name)) continue
    const value = state.get(name) as Tensor
    const wrong = difference(prefix + name, parameter, value)
    if (wrong !== null) problems.push(wrong)
    else copies.push([parameter, value])
  }
  if (problems.length > 0) {
    const advice = missingKeys.length > 0 ? suggestion(own, given, prefix) : ''
    throw new RangeError(`[${FN}] state does not fit ${module}: ${problems.join('; ')}${advice}`)
  }
  return { missingKeys, unexpectedKeys, copies }
}

/** In shape or type; null: none. */
function difference(key: string, parameter: Tensor, value: unknown): string | null {
  if (!(value instanceof Tensor)) throw typeError(FN, `'${key}'`, 'a tensor', value)
  if (formatShape(value.shape) !== formatShape(parameter.shape))
    return `'${key}': expected shape ${formatShape(parameter.shape)}, got ${formatShape(value.shape)}`
  if (value.dtype !== parameter.dtype)
    return `'${key}': expected dtype ${parameter.dtype}, got ${value.dtype}`
  value.buffer // a disposed tensor is an error before anything is changed
  return null
}

/** The one prefix with which every name is there, in words; or ''. */
function suggestion(
  own: ReadonlyMap<string, Tensor>,
  given: ReadonlyMap<string, Tensor>,
  prefix: string,
): string {
  const taken = prefixOf(own, given)
  if (taken !== null && taken !== prefix)
    return taken === ''
      ? '. The keys would fit without the prefix'
      : `. The keys would fit with { prefix: '${taken}' }`
  const field = prefixOf(given, own)
  return field === null
    ? ''
    : `. The keys are those of ${field.slice(0, -1)}: call its loadStateDict`
}

/** The one prefix with which `all` has every tensor of `part`, in the same shape; null: none, or several. */
function prefixOf(
  part: ReadonlyMap<string, Tensor>,
  all: ReadonlyMap<string, Tensor>,
): string | null {
  const [first] = part.keys()
  if (typeof first !== 'string') return null
  const fits = (prefix: string): boolean =>
    [...part].every(([name, tensor]) => {
      const value = all.get(prefix + name)
      return value instanceof Tensor && String(value.shape) === String(tensor?.shape)
    })
  const found = [...all.keys()]
    .map(String)
    .filter((key) => key === first || key.endsWith(`.${first}`))
    .map((key) => key.slice(0, key.length - first.length))
    .filter(fits)
  return found.length === 1 ? (found[0] as string) : null
}

function list(names: readonly string[]): string {
  return names.map((name) => `'${name}'`).join(', ')
}
