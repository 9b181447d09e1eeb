/** How numbers are shown to people. */

const grouped = new Intl.NumberFormat('en-US')

/** 1,234,567 */
export function count(n: number): string {
  return grouped.format(n)
}

/** '1 layer', '2 layers' */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`
}

/** '9.3 s', '2 min 5 s', '1 h 3 min' */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`
  const whole = Math.round(seconds)
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  const minutes = Math.round(seconds / 60)
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** Perplexity from a mean loss in nats. */
export function formatPerplexity(loss: number): string {
  const value = Math.exp(loss)
  return value < 1000 ? value.toPrecision(4) : count(Math.round(value))
}

/** Quotes an argument for a POSIX shell, if it needs it. */
export function shellQuote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
