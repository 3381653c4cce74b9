/** The layer rule fires where it should and is silent where it should be. */
import { ESLint } from 'eslint'
import path from 'node:path'
import { expect, test } from 'vitest'

const root = path.resolve(import.meta.dirname, '../..')
const eslint = new ESLint({
  cwd: root,
  // Types are not needed for these rules, and the files below do not exist.
  overrideConfig: [
    {
      files: ['**/*.ts'],
      languageOptions: { parserOptions: { projectService: false, project: null } },
    },
  ],
  ruleFilter: ({ ruleId }) => ruleId.startsWith('layers/') || ruleId.startsWith('no-restricted-'),
})

async function rulesFired(file: string, code: string): Promise<string[]> {
  const [result] = await eslint.lintText(code, { filePath: path.join(root, file) })
  const fatal = result?.messages.find((message) => message.fatal)
  if (fatal) throw new Error(fatal.message)
  return result?.messages.map((message) => message.ruleId ?? '') ?? []
}

test.each([
  ['web/core/money/x.ts', `import '../../edge/wallet/nwc.ts'`],
  ['web/core/money/x.ts', `import '../../../device/main.ts'`],
  ['web/core/money/x.ts', `import 'node:fs'`],
  ['web/core/money/x.ts', `import 'webtorrent'`],
  ['web/core/money/x.ts', `export * from 'ws'`],
  ['web/core/money/x.ts', `export const load = () => import('../../edge/wallet/nwc.ts')`],
  ['web/core/money/x.ts', `export type T = import('../../edge/swarm/api.ts').Swarm`],
  ['web/edge/swarm/x.ts', `import 'node:fs'`],
  ['web/edge/swarm/x.ts', `import '../../app/main.ts'`],
  ['web/edge/swarm/x.ts', `import '../../../relay/main.ts'`],
  ['web/app/x.ts', `import '../../device/main.ts'`],
  ['web/app/x.ts', `import 'node:fs'`],
  ['relay/x.ts', `import '../web/app/main.ts'`],
  ['relay/x.ts', `import '../device/main.ts'`],
  ['device/x.ts', `import '../web/app/main.ts'`],
  ['device/x.ts', `import '../e2e/demo/main.ts'`],
])('%s may not contain: %s', async (file, code) => {
  expect(await rulesFired(file, code)).toEqual(['layers/imports-inwards'])
})

test.each([
  ['Date.now()', 'no-restricted-properties'],
  ['Math.random()', 'no-restricted-properties'],
  ['new Date()', 'no-restricted-syntax'],
  ['crypto.getRandomValues(new Uint8Array(1))', 'no-restricted-globals'],
  ['fetch("http://localhost")', 'no-restricted-globals'],
  ['setTimeout(() => 0, 1)', 'no-restricted-globals'],
  ['process.env', 'no-restricted-globals'],
  ['window', 'no-restricted-globals'],
  ['globalThis', 'no-restricted-globals'],
])('core may not say %s', async (code, rule) => {
  expect(await rulesFired('web/core/money/x.ts', `export const x = ${code}`)).toEqual([rule])
})

test.each([
  [
    'web/core/money/x.ts',
    `import { sha256 } from '@noble/hashes/sha2.js'\nimport '../bytes.ts'\nexport const at = new Date(0)`,
  ],
  ['web/core/money/x.test.ts', `import 'node:fs'\nimport 'tuf-js'\nDate.now()`],
  ['web/edge/swarm/x.ts', `import 'webtorrent'\nimport '../../core/bytes.ts'\nDate.now()`],
  ['device/x.ts', `import 'node:fs'\nimport '../relay/main.ts'\nimport '../web/edge/swarm/api.ts'`],
])('%s may contain: %s', async (file, code) => {
  expect(await rulesFired(file, code)).toEqual([])
})
