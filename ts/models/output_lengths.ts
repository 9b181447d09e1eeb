/**
 * How long outputs get, by the length of their inputs. A decoder that has lost its way repeats itself
 * without end; a bound from what training has shown keeps that short.
 */

/** Lengths of inputs and outputs, both rising: no input as short as this one had a longer output. */
export type OutputLengths = [input: number, output: number][]

/** Takes note of an example. */
export function noteLengths(seen: OutputLengths, input: number, output: number): void {
  if (seen.some(([i, o]) => i <= input && o >= output)) return
  const kept = seen.filter(([i, o]) => i < input || o > output)
  const at = kept.findIndex(([i]) => i > input)
  kept.splice(at < 0 ? kept.length : at, 0, [input, output])
  seen.splice(0, seen.length, ...kept)
}

/**
 * The longest output to expect: a quarter more than was seen for inputs as long or shorter; for inputs
 * longer than those, in proportion.
 * @param most the answer where nothing was seen, and its bound
 */
export function longestOutput(seen: OutputLengths, input: number, most: number): number {
  const [first] = seen
  if (first === undefined) return most
  const [i, o] = seen.findLast(([length]) => length <= input) ?? first
  const beyond = i === seen.at(-1)?.[0] && input > i ? input / i : 1
  return Math.min(most, Math.ceil(1.25 * o * beyond) + 1)
}

/** What a file says, checked. @throws Error for anything else */
export function outputLengthsOf(json: unknown): OutputLengths {
  const fits =
    Array.isArray(json) &&
    json.every(
      (pair, k) =>
        Array.isArray(pair) &&
        pair.length === 2 &&
        pair.every((x, side) => Number.isSafeInteger(x) && x >= (json[k - 1]?.[side] ?? 0)),
    )
  if (!fits) throw new Error('lengths: expected pairs of rising whole numbers')
  return json as OutputLengths
}
