/** The conformance page: all suites, counted, and every case that did not pass. */
import { VERSION } from '../../dist/version.js'
import { gradBenchSuite } from './gradbench.js'
import { kerasSuite } from './keras.js'
import { onnxRuntimeSuite, onnxSuite } from './onnx.js'
import type { Outcome, Suite } from './suite.js'
import { torchSuite } from './torch.js'

const KINDS = ['passed', 'refused', 'different', 'not run'] as const

const NOT_RUN: Suite = {
  title: 'AWD-LSTM: the published perplexity on Penn Treebank',
  about: 'Merity, Keskar and Socher 2018 (arXiv:1708.02182), table 1: 57.3 on the test set.',
  results: [
    {
      name: 'perplexity after 750 epochs',
      outcome: { is: 'not run', why: 'it takes days of a GPU, and the corpus is not free' },
    },
  ],
}

export const suites = async (): Promise<Suite[]> => {
  const found: Suite[] = []
  for (const make of [onnxSuite, onnxRuntimeSuite, kerasSuite, torchSuite, gradBenchSuite])
    found.push(await make())
  return [...found, NOT_RUN]
}

/** The line that says when; a page is compared without it. */
export const WHEN = /^Written on .*$/m

const count = ({ results }: Suite, is: Outcome['is']): number =>
  results.filter(({ outcome }) => outcome.is === is).length

const anchor = (title: string): string =>
  title
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')

/** Cases with one reason are one line. */
function reasons({ results }: Suite): string {
  const groups = new Map<string, string[]>()
  for (const { name, outcome } of results) {
    if (outcome.is === 'passed') continue
    const why = `${outcome.is}: ${outcome.why}`
    groups.set(why, [...(groups.get(why) ?? []), name])
  }
  if (groups.size === 0) return 'All pass.'
  const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('<', '&lt;')
  const rows = [...groups].map(
    ([why, names]) => `| ${names.length} | ${cell(why)} | ${names.map(cell).join(', ')} |`,
  )
  return ['| cases | why | which |', '| --- | --- | --- |', ...rows].join('\n')
}

export function pageOf(all: readonly Suite[], date: string): string {
  const rows = all.map((suite) => {
    const counts = KINDS.map((is) => count(suite, is))
    return `| [${suite.title}](#${anchor(suite.title)}) | ${suite.results.length} | ${counts.join(' | ')} |`
  })
  return `${[
    '# Conformance',
    "Other projects' tests of recurrent layers, run with this one. `npm run conformance` writes this page: it needs neither Python nor a network. The numbers are data in test/fixtures/conformance, each file beside the program that wrote it down from its source. `npm test` fails when a case that passed no longer does, or when this page is not what the program writes.",
    `Written on ${date} by fused-rnn ${VERSION} with Node ${process.version}, on the CPU.`,
    [
      `| suite | cases | ${KINDS.join(' | ')} |`,
      '| --- | --- | --- | --- | --- | --- |',
      ...rows,
    ].join('\n'),
    'Refused: the library says at the call that it does not do this. Different: other numbers, or no error where there should be one.',
    ...all.flatMap((suite) => [`## ${suite.title}`, suite.about, reasons(suite)]),
  ].join('\n\n')}\n`
}
