/**
 * Delegated targets roles (TUF specification 1.0.34, section 4.5 and 5.6.7; TAP 15 for succinct roles): which
 * roles may speak about a target path, and in what order they are asked.
 */
import { sha256Hex, utf8 } from '../bytes.ts'
import type { Delegations, Role } from './tuf.ts'

/** One delegation, as the search sees it. */
export type Delegation = Readonly<{
  name: string
  role: Role
  /** No role after it is asked, whether or not it knows the target. */
  terminating: boolean
}>

/** The roles that `delegations` trust with `path`, in order of appearance, up to and with a terminating one. */
export function delegatesFor(delegations: Delegations | undefined, path: string): readonly Delegation[] {
  if (!delegations) return []
  const { succinct_roles: succinct } = delegations
  if (succinct) {
    const name = binOf(path, succinct.bit_length, succinct.name_prefix)
    return [{ name, role: succinct, terminating: true }]
  }
  const found: Delegation[] = []
  let hash: string | undefined
  for (const role of delegations.roles ?? []) {
    const trusted =
      role.paths?.some((pattern) => matches(pattern, path)) ??
      role.path_hash_prefixes?.some((prefix) => (hash ??= pathHash(path)).startsWith(prefix.toLowerCase())) ??
      false
    if (!trusted) continue
    found.push({ name: role.name, role, terminating: role.terminating })
    if (role.terminating) break
  }
  return found
}

/** Every role that is delegated to by name; of succinct roles none, for their bins are too many to list. */
export const namedDelegates = (delegations: Delegations | undefined): readonly Delegation[] =>
  delegations?.roles?.map((role) => ({ name: role.name, role, terminating: role.terminating })) ?? []

const pathHash = (path: string): string => sha256Hex(utf8(path))

/** TAP 15: the first `bits` bits of the path's SHA-256, as hex of the width that the last bin needs. */
export function binOf(path: string, bits: number, prefix: string): string {
  const first32 = Number.parseInt(pathHash(path).slice(0, 8), 16)
  const bin = Math.floor(first32 / 2 ** (32 - bits))
  return `${prefix}-${bin.toString(16).padStart(Math.ceil(bits / 4), '0')}`
}

/**
 * Whether a PATHPATTERN covers a path: `*`, `?` and `[...]` as in glob(7), each within one segment, and a leading dot
 * only by a dot; everything else is literal. So a key for `pump/*` reaches neither `pump/1.0/x` nor `pump/.x`.
 */
export function matches(pattern: string, path: string): boolean {
  const patterns = pattern.split('/')
  const segments = path.split('/')
  return (
    patterns.length === segments.length &&
    patterns.every((glob, i) => matchesSegment(glob, segments[i] ?? ''))
  )
}

/** `*`, or what one letter must be. */
type Token = '*' | ((letter: string) => boolean)

function tokensOf(glob: string): readonly Token[] {
  const letters = [...glob]
  const tokens: Token[] = []
  for (let at = 0; at < letters.length; at++) {
    const letter = letters[at]
    if (letter === '*') tokens.push('*')
    else if (letter === '?') tokens.push(() => true)
    else {
      // The first letter of a class may be its own `]`.
      const not = letters[at + 1] === '!'
      const from = at + (not ? 2 : 1)
      const end = letter === '[' ? letters.indexOf(']', from + 1) : -1
      if (end < 0) tokens.push((other) => other === letter)
      else {
        const within = classOf(letters.slice(from, end))
        tokens.push((other) => within(other) !== not)
        at = end
      }
    }
  }
  return tokens
}

function classOf(letters: readonly string[]): (letter: string) => boolean {
  const ranges: [string, string][] = []
  for (let i = 0; i < letters.length; i++) {
    const first = letters[i] ?? ''
    const last = letters[i + 1] === '-' ? letters[i + 2] : undefined
    ranges.push([first, last ?? first])
    if (last !== undefined) i += 2
  }
  return (letter) => ranges.some(([first, last]) => first <= letter && letter <= last)
}

/** Greedy with one way back, so that no pattern takes more than |glob| x |text| steps. */
function matchesSegment(glob: string, text: string): boolean {
  if (text.startsWith('.') && !glob.startsWith('.')) return false
  const tokens = tokensOf(glob)
  const letters = [...text]
  let at = 0
  let star = -1
  let starAt = 0
  for (let i = 0; i < letters.length;) {
    const token = tokens[at]
    if (token === '*') {
      star = at++
      starAt = i
    } else if (token?.(letters[i] ?? '')) {
      at++
      i++
    } else if (star >= 0) {
      at = star + 1
      i = ++starAt
    } else return false
  }
  while (tokens[at] === '*') at++
  return at === tokens.length
}

/**
 * A role's or target's name as part of a URL or of a file's name: everything but RFC 3986's unreserved characters is
 * percent-encoded. `.` and `..` stay what they are: `1...json` is no way up, a bare segment would be. `undefined`: no
 * name (lone surrogates).
 */
export function segmentOf(name: string): string | undefined {
  if (!name.isWellFormed()) return undefined
  return encodeURIComponent(name).replaceAll(
    /[!'()*]/g,
    (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}
