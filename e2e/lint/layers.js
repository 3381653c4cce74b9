/**
 * The lint rule that keeps the house in order (ARCHITECTURE.md "Layers"): imports point inwards only,
 * `relay, device, e2e, web/app -> web/edge -> web/core`, and core reads nothing from the world.
 * Plain JavaScript: eslint.config.js loads it without a build.
 */
import path from 'node:path'

/** What core may import beside itself: small pure libraries. */
export const PURE = [
  'valibot',
  '@noble/hashes',
  '@noble/curves',
  '@noble/ciphers',
  '@scure/base',
  '@tufjs/canonical-json',
  'micro-rsa-dsa-dh',
]

/** Who may import whom. The innermost comes first. */
const MAY_IMPORT = {
  'web/core': ['web/core'],
  'web/edge': ['web/edge', 'web/core'],
  'web/app': ['web/app', 'web/edge', 'web/core'],
  relay: ['relay', 'web/edge', 'web/core'],
  device: ['device', 'relay', 'web/edge', 'web/core'],
  e2e: ['e2e', 'device', 'relay', 'web/edge', 'web/core'],
}
/** What runs in a tab too. */
const IN_TAB = ['web/core', 'web/edge', 'web/app']

/** @param {string} file relative to the root, with forward slashes */
const layerOf = (file) =>
  Object.keys(MAY_IMPORT).find((layer) => file === layer || file.startsWith(`${layer}/`))
const isTest = (file) => /\.test\.ts$|-suite\.ts$/.test(file)
const packageOf = (specifier) =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')

/** Why `file` may not import `specifier`, or undefined when it may. Both sides are pure text. */
export function refusal(file, specifier) {
  const layer = layerOf(file)
  if (layer === undefined) return undefined
  if (specifier.startsWith('.')) {
    const target = path.posix.join(path.posix.dirname(file), specifier)
    const other = layerOf(target)
    if (other === undefined || MAY_IMPORT[layer].includes(other)) return undefined
    return `${layer} may not import ${other}: imports point inwards only.`
  }
  if (isTest(file)) return undefined // a test may use any oracle
  if (layer === 'web/core') {
    const name = packageOf(specifier)
    return PURE.includes(name) ? undefined : `web/core is pure: it may not import "${name}".`
  }
  if (IN_TAB.includes(layer) && specifier.startsWith('node:'))
    return `${layer} runs in a tab too: it may not import "${specifier}".`
  return undefined
}

/** @type {import('eslint').Rule.RuleModule} */
const importsInwards = {
  meta: { type: 'problem', schema: [], docs: { description: 'imports point inwards only' } },
  create(context) {
    const file = path.relative(context.cwd, context.filename).split(path.sep).join('/')
    const check = (node) => {
      const value = node.source?.value
      const reason = typeof value === 'string' ? refusal(file, value) : undefined
      if (reason !== undefined) context.report({ node, message: reason })
    }
    return {
      ImportDeclaration: check,
      ImportExpression: check,
      ExportNamedDeclaration: check,
      ExportAllDeclaration: check,
      TSImportType: check,
    }
  },
}

export default { rules: { 'imports-inwards': importsInwards } }

const CLOCK = 'core has no clock: take the time as an argument.'
const CHANCE = 'core has no randomness of its own: take it as an argument.'
const WORLD = 'core does no I/O: return an effect, and let edge carry it out.'

const globals = (names, message) => names.map((name) => ({ name, message }))

/** Rules for web/core beside the imports: what the language itself would let it reach. */
export const PURITY = {
  'no-restricted-globals': [
    'error',
    ...globals(['performance'], CLOCK),
    ...globals(['crypto'], CHANCE),
    ...globals(
      'setTimeout setInterval setImmediate clearTimeout clearInterval queueMicrotask requestAnimationFrame requestIdleCallback fetch XMLHttpRequest WebSocket EventSource Worker BroadcastChannel process Buffer require global globalThis self window document navigator location localStorage sessionStorage indexedDB caches console'.split(
        ' ',
      ),
      WORLD,
    ),
  ],
  'no-restricted-properties': [
    'error',
    { object: 'Date', property: 'now', message: CLOCK },
    { object: 'Math', property: 'random', message: CHANCE },
  ],
  'no-restricted-syntax': [
    'error',
    { selector: 'NewExpression[callee.name="Date"][arguments.length=0]', message: CLOCK },
    { selector: 'CallExpression[callee.name="Date"]', message: CLOCK },
  ],
}
