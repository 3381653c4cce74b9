/**
 * Versions and their order. Semantic Versioning 2.0 and what vendors really write besides: any number of numeric
 * segments (`2026.11`, `1.2.3.4`), pre-releases after `-`, and Debian's `~`, which sorts before anything.
 */
declare const unit: unique symbol
/** A version that `parseVersion` has accepted. */
export type Version = string & { readonly [unit]: 'version' }

const VERSION = /^[0-9][0-9A-Za-z.+~-]*$/
const MAX_CHARS = 64

export function parseVersion(text: string): Version | undefined {
  return VERSION.test(text) && text.length <= MAX_CHARS ? (text as Version) : undefined
}

type Parts = Readonly<{ core: readonly string[]; pre: readonly string[] | undefined; build: string }>

/** `core[-~]pre+build`: everything after the first `+` is build metadata, before it the first `-` or `~` starts the pre-release. */
function split(version: string): Parts {
  const plus = version.indexOf('+')
  const main = plus < 0 ? version : version.slice(0, plus)
  const build = plus < 0 ? '' : version.slice(plus)
  const mark = main.search(/[-~]/)
  const core = (mark < 0 ? main : main.slice(0, mark)).split('.')
  // `1.0` and `1.0.0` are the same release.
  while (core.length > 1 && /^0*$/.test(core.at(-1) ?? '')) core.pop()
  return { core, pre: mark < 0 ? undefined : preParts(main.slice(mark)), build }
}

/** `~` sorts before `-`, so it stays in the first identifier's place as a rank. */
const preParts = (text: string): string[] => [text[0] === '~' ? '0' : '1', ...text.slice(1).split(/[.~-]/)]

/** SemVer 11.4: numbers by value and before words; words by ASCII. */
function compareIdentifier(a: string, b: string): number {
  const aNumber = /^\d+$/.test(a)
  const bNumber = /^\d+$/.test(b)
  if (aNumber && bNumber) {
    const x = BigInt(a)
    const y = BigInt(b)
    return x < y ? -1 : x > y ? 1 : 0
  }
  if (aNumber !== bNumber) return aNumber ? -1 : 1
  return a < b ? -1 : a > b ? 1 : 0
}

function compareLists(a: readonly string[], b: readonly string[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const x = a[i]
    const y = b[i]
    if (x === undefined || y === undefined) return x === undefined ? -1 : 1
    const order = compareIdentifier(x, y)
    if (order !== 0) return order
  }
  return 0
}

/**
 * Negative when `a` is older, positive when newer, 0 when neither: `1.0` and `1.0.0+build7` are the same release.
 * A pre-release comes before its release.
 */
export function compareVersions(a: string, b: string): number {
  const x = split(a)
  const y = split(b)
  const core = compareLists(x.core, y.core)
  if (core !== 0) return core
  if (x.pre === undefined || y.pre === undefined) {
    return x.pre === y.pre ? 0 : x.pre === undefined ? 1 : -1
  }
  return compareLists(x.pre, y.pre)
}

export const isNewer = (candidate: string, than: string): boolean => compareVersions(candidate, than) > 0
