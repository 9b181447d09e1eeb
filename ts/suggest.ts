/** Names that may have been meant. */
import { editDistance } from './edit_distance.js'

/** So many are shown of what there is. */
const SHOWN = 8

/** `'a', 'b', … (12 in all)` */
export function listed(names: readonly string[]): string {
  const shown = names.slice(0, SHOWN).map((name) => `'${name}'`)
  if (names.length === 0) return 'none'
  return names.length > SHOWN ? `${shown.join(', ')}, … (${names.length} in all)` : shown.join(', ')
}

/** The name most like one that is not there, or null: few changes, or the one within the other. */
export function suggestion(name: string, names: readonly string[]): string | null {
  let best: string | null = null
  let least = Math.min(name.length, Math.max(2, Math.floor(name.length / 4)) + 1)
  for (const candidate of names) {
    // More names than anybody reads are not compared letter by letter.
    if (Math.abs(candidate.length - name.length) >= least) continue
    const changes = editDistance(name.toLowerCase().split(''), candidate.toLowerCase().split(''))
    if (changes < least) [best, least] = [candidate, changes]
  }
  if (best !== null || name.length < 3) return best
  return names.find((one) => one.includes(name) || (one.length > 2 && name.includes(one))) ?? null
}
