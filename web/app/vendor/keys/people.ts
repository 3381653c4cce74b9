/** Who signs, in the words of the keys page. */
import { keyId } from '../../../core/release/keys.ts'
import { vendorRoles, type Person } from '../../../core/release/people.ts'
import type { SigningView, VendorKeys, WaitingView } from '../../../edge/vendor/api.ts'

export const idsOf = (keys: Pick<VendorKeys, 'signers'> | undefined): ReadonlySet<string> =>
  new Set(keys?.signers.map(({ key }) => keyId(key)) ?? [])

/** "key changes and releases" */
export const mayText = (person: Person): string =>
  [...(person.root ? ['key changes'] : []), ...(person.targets ? ['releases'] : [])].join(' and ')

export const fingerprint = (person: Person): string =>
  vendorRoles.flatMap((role) => (person[role] ? [keyId(person[role]).slice(0, 8)] : [])).join(' ')

export type Standing = Readonly<{ have: readonly string[]; can: readonly string[]; missing: number }>

/** Over all files of a proposal: who has signed, who still can, how many signatures miss at most. */
export function signersOf({ needs, names }: Pick<WaitingView, 'needs' | 'names'>): Standing {
  const name = (id: string): string => names.get(id) ?? `key ${id.slice(0, 8)}`
  const have = new Set(needs.flatMap((one) => one.have.map(name)))
  const open = needs.filter((one) => one.have.length < one.threshold)
  const can = new Set(open.flatMap((one) => one.keyids.filter((id) => !one.have.includes(id)).map(name)))
  const missing = Math.max(0, ...open.map((one) => one.threshold - one.have.length))
  return { have: [...have], can: [...can], missing }
}

/** What this browser's keys may do for the vendor. */
export function roleHere(signing: SigningView | undefined, ids: ReadonlySet<string>) {
  const holds = (role: 'root' | 'targets') =>
    signing?.root.roles[role].keyids.some((id) => ids.has(id)) ?? false
  const products = (signing?.delegates ?? [])
    .filter(({ key }) => ids.has(keyId(key)))
    .map((one) => one.product)
  return { root: holds('root'), targets: holds('targets'), products }
}

/** What a dialog of the Keys page exchanges: the keys that sign, or the one that announces. */
export type Replacing = 'keys' | 'nostr'
