/**
 * Products whose releases a colleague or a build machine signs: a delegated targets role each (TUF specification 1.0,
 * sections 4.5 and 5.6.7), over the paths `product/version/file` of that product and nothing else.
 */
import * as v from 'valibot'
import type { PartyKey } from '../bytes.ts'
import { delegatesFor } from './delegations.ts'
import { partyKeySchema } from './target.ts'
import { keyId, type DelegatedRole, type Delegations, type PublicKeyObject, type Role } from './tuf.ts'

/** One product, its signer and how people call them. */
export type Delegate = Readonly<{
  product: string
  name: string
  key: PublicKeyObject
  /** The delegate's Nostr key: uploads the product's torrents. */
  nostr: PartyKey
}>

/** Delegated roles' file names at a relay: `N.ROLE.json`. */
export const roleNamePattern = /^(?!(?:root|targets|snapshot|timestamp)$)[a-z0-9][a-z0-9._-]{0,63}$/
const PRODUCT = /^[a-z0-9][a-z0-9._-]{0,55}$/

/** `product-` keeps a product named `root` apart from the role of that name. */
export const roleOf = (product: string): string => `product-${product}`

const ownSchema = v.object({ product: v.string(), name: v.string(), nostr: partyKeySchema })

/** Those that these pages made. */
export function readDelegates(delegations: Delegations | undefined): readonly Delegate[] {
  return (delegations?.roles ?? []).flatMap((role) => {
    const own = v.safeParse(ownSchema, role['satpatch'])
    const id = role.keyids[0]
    const key = id === undefined ? undefined : delegations?.keys[id]
    if (!own.success || !key || role.name !== roleOf(own.output.product)) return []
    return [{ ...own.output, key }]
  })
}

/** A delegation of another tool's making: it is kept, followed where a path is looked for, and shown in words. */
export type ForeignDelegation = Readonly<{ name: string; covers: string; signers: number; threshold: number }>

export function foreignDelegations(delegations: Delegations | undefined): readonly ForeignDelegation[] {
  const own = new Set(readDelegates(delegations).map(({ product }) => roleOf(product)))
  const { succinct_roles: bins, roles = [] } = delegations ?? {}
  const of = (name: string, covers: string, role: Role): ForeignDelegation => ({
    name,
    covers,
    signers: role.keyids.length,
    threshold: role.threshold,
  })
  return [
    ...roles
      .filter(({ name }) => !own.has(name))
      .map((role) => of(role.name, (role.paths ?? role.path_hash_prefixes ?? []).join(', '), role)),
    ...(bins
      ? [of(`${bins.name_prefix}-*`, `all paths, in ${2 ** bins.bit_length} bins by their hash`, bins)]
      : []),
  ]
}

/** Why a delegate cannot be added, in words. */
export function checkDelegate(delegate: Delegate): string | undefined {
  if (!PRODUCT.test(delegate.product))
    return 'The product needs 1 to 56 of a-z, 0-9, dot, dash or underscore, first a letter or digit.'
  const name = delegate.name.trim()
  return name === '' || name.length > 80 ? 'A name has 1 to 80 characters.' : undefined
}

const entry = ({ product, name, key, nostr }: Delegate): DelegatedRole => ({
  name: roleOf(product),
  keyids: [keyId(key)],
  threshold: 1,
  // What the vendor signs itself comes first anyway; for this product nobody else is asked.
  terminating: true,
  paths: [`${product}/*/*`],
  satpatch: { product, name: name.trim(), nostr },
})

/** Adds a delegate, or exchanges the one that the product has. */
export function withDelegate(delegations: Delegations | undefined, delegate: Delegate): Delegations {
  const roles = (delegations?.roles ?? []).filter((role) => role.name !== roleOf(delegate.product))
  return tidy({
    keys: { ...delegations?.keys, [keyId(delegate.key)]: delegate.key },
    roles: [...roles, entry(delegate)],
  })
}

/** `undefined` when nothing is delegated any more. */
export function withoutDelegate(
  delegations: Delegations | undefined,
  product: string,
): Delegations | undefined {
  const roles = (delegations?.roles ?? []).filter((role) => role.name !== roleOf(product))
  return roles.length === 0 ? undefined : tidy({ keys: { ...delegations?.keys }, roles })
}

/** Keys that no role names are dropped. */
function tidy(delegations: Readonly<{ keys: Delegations['keys']; roles: DelegatedRole[] }>): Delegations {
  const used = new Set(delegations.roles.flatMap((role) => role.keyids))
  const keys = Object.fromEntries(Object.entries(delegations.keys).filter(([id]) => used.has(id)))
  return { keys, roles: delegations.roles }
}

/** Nostr keys that may upload torrents beside the vendor's own. */
export const publishersOf = (delegations: Delegations | undefined): readonly PartyKey[] =>
  readDelegates(delegations).map((one) => one.nostr)

/** Whether a client that looks for `path` asks this role. */
export const mayName = (delegations: Delegations | undefined, role: string, path: string): boolean =>
  delegatesFor(delegations, path).some(({ name }) => name === role)
