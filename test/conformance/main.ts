/** npm run conformance: runs other projects' cases and writes docs/conformance.md. */
import { writeFileSync } from 'node:fs'
import { pageOf, suites } from './page.js'

const all = await suites()
const page = new URL('../../docs/conformance.md', import.meta.url)
writeFileSync(page, pageOf(all, new Date().toISOString().slice(0, 10)))
for (const { title, results } of all) {
  const passed = results.filter(({ outcome }) => outcome.is === 'passed').length
  console.log(`${title}: ${passed} of ${results.length}`)
}
