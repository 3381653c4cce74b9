/** Where `tuf-js` and we judge one repository differently, and why the specification (1.0.34) is on our side. */
import type { Word } from './visitors.ts'
import type { Repository } from './repository.ts'

export type Seen = Readonly<{
  repository: Repository
  /** What was done to the repository so far, by name. */
  changes: readonly string[]
  ours: Word
  theirs: Word
}>

type Difference = Readonly<{ name: string; why: string; explains(seen: Seen): boolean }>

const stricter = ({ ours, theirs }: Seen): boolean => !ours.refreshed && theirs.refreshed
const looser = ({ ours, theirs }: Seen): boolean => ours.refreshed && !theirs.refreshed
const findings = ({ ours, theirs }: Seen): boolean => ours.refreshed && theirs.refreshed

export const DIFFERENCES: readonly Difference[] = [
  {
    name: 'roles named like numbers',
    why: 'Section 4.5: roles are asked in order of appearance. tuf-js keeps them in a JavaScript object, which puts 2 before 10, and then checks the signature of what it wrote anew.',
    explains: (seen) => seen.changes.includes('delegate to names like numbers') && !stricter(seen),
  },
  {
    name: 'one key under two ids',
    why: 'Section 5.3.4 and others ask for a threshold of keys; section 4.3 for one id a key. tuf-js counts ids, so one stolen key reaches a threshold of two.',
    explains: (seen) => seen.changes.includes('the same key under two ids') && stricter(seen),
  },
  {
    name: 'a scheme that is not known',
    why: 'Section 4.2: SCHEME names how a key signs. tuf-js looks at the key type alone, and counts an Ed25519 signature made under another scheme.',
    explains: (seen) => seen.changes.includes('a key of an unknown kind') && stricter(seen),
  },
  {
    name: 'braces in a path pattern',
    why: 'Section 4.5: PATHPATTERN is glob(7), which has no braces. tuf-js takes {a,b} for two patterns, which widens what the delegator wrote.',
    explains: (seen) =>
      findings(seen) &&
      [...seen.repository.targetsRoles.values()].some((role) =>
        role.delegations?.roles?.some(({ paths = [] }) => paths.some((path) => path.includes('{'))),
      ),
  },
  {
    name: 'a version below 1, or that no double holds',
    why: 'Section 4.3: VERSION is an integer greater than zero. tuf-js takes any number.',
    explains: (seen) => seen.changes.includes('a version that is none') && !looser(seen),
  },
  {
    name: 'a kept snapshot against hashes listed anew',
    why: 'Section 5.5.2: the hashes must match those of the trusted timestamp. tuf-js takes its kept snapshot for right without comparing.',
    explains: (seen) =>
      ['list an unknown hash only', 'list a wrong hash', 'list a wrong length'].some((change) =>
        seen.changes.includes(change),
      ) && stricter(seen),
  },
  {
    name: 'snapshot and timestamp after an exchange of keys',
    why: 'Section 5.3.11: when the keys of either were exchanged, both are deleted. tuf-js keeps the other, and its floor with it.',
    explains: (seen) => seen.changes.includes('exchange keys') && looser(seen),
  },
  {
    name: 'kept roles whose names need encoding',
    why: 'Section 5.6.6: targets metadata is kept. tuf-js writes such a role under its encoded name and looks for it under the plain one, so it never finds it again.',
    explains: (seen) =>
      findings(seen) &&
      [...seen.repository.targetsRoles.keys()].some((name) => encodeURIComponent(name) !== name) &&
      seen.ours.found.every((hash, i) => hash !== undefined || seen.theirs.found[i] === undefined),
  },
]
