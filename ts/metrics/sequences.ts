/** Metrics of whole sequences: spans of tags, and what was recognised. */
import { editDistance } from '../edit_distance.js'
import { rangeError, typeError } from '../errors.js'
import { checkPairs, listOf } from './checks.js'

/** A part of a sentence with a type, as BIO tags mark it. */
export interface Span {
  type: string
  /** The first token. */
  start: number
  /** Behind the last token. */
  end: number
}

/**
 * The spans that BIO tags mark (`B-PER`, `I-PER`, `O`; Ramshaw & Marcus 1995); an `I-` without a
 * beginning begins one, as in the CoNLL evaluation. Also BIOES.
 */
export function spansOf(tags: readonly string[]): Span[] {
  const spans: Span[] = []
  let open: Span | null = null
  tags.forEach((tag, i) => {
    const match = /^([BIES])-(.*)$/s.exec(tag)
    const [prefix, type] = match === null ? ['O', ''] : [match[1] as string, match[2] as string]
    const goes: boolean = open !== null && 'IE'.includes(prefix) && open.type === type
    if (!goes && open !== null) {
      spans.push({ ...(open as Span), end: i })
      open = null
    }
    if (prefix === 'O') return
    open ??= { type, start: i, end: i }
    if ('ES'.includes(prefix)) {
      spans.push({ ...(open as Span), end: i + 1 })
      open = null
    }
  })
  if (open !== null) spans.push({ ...(open as Span), end: tags.length })
  return spans
}

function tagsOf(fn: string, name: string, value: unknown): string[][] {
  const sentences = listOf<unknown>(fn, name, value, 'an array of sentences, each an array of tags')
  return Array.from(sentences, (sentence, i) => {
    const tags = listOf<unknown>(fn, `${name}[${i}]`, sentence, 'an array of tags')
    return Array.from(tags, (tag, j) => {
      if (typeof tag !== 'string') throw typeError(fn, `${name}[${i}][${j}]`, 'a tag, a text', tag)
      return tag
    })
  })
}

/**
 * F1 of spans, as the CoNLL evaluation and seqeval count them: a span is right when type, beginning
 * and end are. Without any span on either side it is 1.
 * @param predicted BIO tags of each sentence
 * @throws TypeError, RangeError for sentences of unlike lengths, with their number
 */
export function spanF1(
  predicted: readonly (readonly string[])[],
  target: readonly (readonly string[])[],
): number {
  const fn = 'spanF1'
  const [p, t] = [tagsOf(fn, 'predicted', predicted), tagsOf(fn, 'target', target)]
  checkPairs(fn, p, t)
  let [right, said, there] = [0, 0, 0]
  t.forEach((tags, i) => {
    const own = p[i] as string[]
    if (own.length !== tags.length)
      throw rangeError(fn, `predicted[${i}]`, `${tags.length} tags`, String(own.length))
    const key = ({ type, start, end }: Span): string => `${start} ${end} ${type}`
    const wanted = new Set(spansOf(tags).map(key))
    const found = spansOf(own).map(key)
    right += found.filter((span) => wanted.has(span)).length
    said += found.length
    there += wanted.size
  })
  return said + there === 0 ? 1 : (2 * right) / (said + there)
}

/** A text (by code points) or any array of tokens. */
export type Sequence = string | ArrayLike<string | number>

function sequencesOf(fn: string, name: string, value: unknown): unknown[][] {
  const all = listOf<unknown>(fn, name, value, 'an array of texts or arrays of tokens')
  return Array.from(all, (one, i) =>
    typeof one === 'string'
      ? [...one]
      : [...listOf<unknown>(fn, `${name}[${i}]`, one, 'a text or an array of tokens')],
  )
}

/**
 * Edit distance between what was recognised and what is there, over the length of what is there: the
 * character error rate of texts, the word or phoneme error rate of arrays of tokens; as torchmetrics'
 * `CharErrorRate` and `WordErrorRate`. 0 is right; it may be above 1.
 * @throws TypeError, RangeError where there is nothing to recognise
 */
export function errorRate(predicted: readonly Sequence[], target: readonly Sequence[]): number {
  const fn = 'errorRate'
  const [p, t] = [sequencesOf(fn, 'predicted', predicted), sequencesOf(fn, 'target', target)]
  checkPairs(fn, p, t)
  const length = t.reduce((sum, one) => sum + one.length, 0)
  if (length === 0) throw rangeError(fn, 'target', 'at least one token', 'none')
  return t.reduce((sum, one, i) => sum + editDistance(p[i] as unknown[], one), 0) / length
}
