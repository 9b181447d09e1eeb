/** What is said of arguments too many; scripts/arguments.mjs puts the calls into what is exported. */

/** What those who come from PyTorch or NumPy may have meant, by function. */
const HINTS: Record<string, string> = {
  flip: 'several dimensions go into one array: flip([0, 1])',
  permute: 'the dimensions go into one array: permute([1, 0])',
  reshape: 'the sizes go into one array: reshape([2, 3])',
  expand: 'the sizes go into one array: expand([2, 3])',
  sum: 'several dimensions go into one array: sum([0, 1])',
  mean: 'several dimensions go into one array: mean([0, 1])',
  Dropout: 'nothing works in place',
  relu: 'nothing works in place',
}

/** What a cell's third argument may have been. */
const OF_CELL =
  'a cell takes one step and has no reset and no mask: choose its state with where(), or use the layer, whose forward has them'

/**
 * Called when there are more arguments than the function has parameters.
 * @param names of the parameters
 * @param count how many arguments came; the first three follow
 * @internal
 */
export function refuseArguments(
  fn: string,
  names: readonly string[],
  count: number,
  ...given: unknown[]
): never {
  const { length } = names
  const expected = length === 0 ? 'none' : `at most ${length} (${names.join(', ')})`
  const [item, index, list] = given
  const inMap =
    count === 3 && typeof index === 'number' && Array.isArray(list) && list[index] === item
  const hint = inMap
    ? `an array's map passes the index and the array, too: write map((x) => ${fn}(x))`
    : (HINTS[fn] ?? (/Cell\.forward$/.test(fn) ? OF_CELL : undefined))
  throw new TypeError(
    `[${fn}] arguments: expected ${expected}, got ${count}${hint === undefined ? '' : `; ${hint}`}`,
  )
}
