/** How unlike two sequences are. */

/** How many insertions, deletions and replacements lead from one to the other (Levenshtein 1966). */
export function editDistance(from: readonly unknown[], to: readonly unknown[]): number {
  let row = Array.from({ length: to.length + 1 }, (_, j) => j)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1] ? 0 : 1
      next.push(
        Math.min(
          (row[j] as number) + 1,
          (next[j - 1] as number) + 1,
          (row[j - 1] as number) + same,
        ),
      )
    }
    row = next
  }
  return row[to.length] as number
}
