/** The weights in a checkpoint. */
import { withoutJSON } from '../../copies.js'
import { checkOptions, checkString, describe, typeError } from '../../errors.js'
import { listed } from '../../suggest.js'
import { Tensor } from '../../tensor.js'

const FN = 'torch.stateDict'
/** Where trainers keep them: Lightning, PyTorch's own examples, DeepSpeed and others. */
const KEYS = ['state_dict', 'model_state_dict', 'model_state', 'model', 'module', 'net', 'weights']

/** What {@link stateDict} takes. */
export interface StateDictOptions {
  /** Under which the state dict stands; further keys in it after dots ('ema.model'). Default: it is looked for. */
  key?: string
}

/**
 * The state dict in what {@link load} gave: the value itself if it is one, else what stands under
 * 'state_dict' (Lightning), 'model_state_dict', 'model', 'module', 'net' or 'weights', or the only
 * state dict there is.
 * @throws TypeError that lists what there is
 */
export function stateDict(value: unknown, options: StateDictOptions = {}): Map<string, Tensor> {
  checkOptions(FN, options, ['key'])
  if (options.key !== undefined) {
    const key = checkString(FN, 'key', options.key)
    const found = under(value, key)
    if (!isStateDict(found))
      throw typeError(FN, `'${key}'`, `a state dict, which may be under ${places(value)}`, found)
    return withoutJSON(found)
  }
  if (isStateDict(value)) return withoutJSON(value)
  if (!(value instanceof Map)) throw typeError(FN, 'value', 'a dict with a state dict in it', value)
  for (const key of KEYS) {
    const found: unknown = value.get(key)
    if (isStateDict(found)) return withoutJSON(found)
  }
  const all = [...value].filter(([, item]) => isStateDict(item))
  const [first] = all
  if (first !== undefined && all.length === 1) return withoutJSON(first[1] as Map<string, Tensor>)
  const strange = [...value].find(([, item]) => !(item instanceof Tensor)) as [unknown, unknown]
  if (value.size > 1 && [...value.values()].filter((item) => item instanceof Tensor).length > 0)
    throw new TypeError(
      `[${FN}] value: expected a state dict, got one with ${describe(strange[0])}: ${describe(strange[1])}; delete what is no tensor`,
    )
  throw new TypeError(
    `[${FN}] value: expected a state dict, or a checkpoint with one; ${all.length === 0 ? 'there is none' : 'there are several'}, say which with { key }: it has ${places(value)}`,
  )
}

/** Also a key with dots in it. */
function under(value: unknown, key: string): unknown {
  if (!(value instanceof Map)) return undefined
  if (value.has(key)) return value.get(key)
  for (let at = key.indexOf('.'); at >= 0; at = key.indexOf('.', at + 1)) {
    const found = under(value.get(key.slice(0, at)), key.slice(at + 1))
    if (found !== undefined) return found
  }
  return undefined
}

function isStateDict(value: unknown): value is Map<string, Tensor> {
  if (!(value instanceof Map) || value.size === 0) return false
  for (const [key, item] of value)
    if (typeof key !== 'string' || !(item instanceof Tensor)) return false
  return true
}

const places = (value: unknown): string =>
  value instanceof Map ? listed([...value.keys()].map(String)) : describe(value)
