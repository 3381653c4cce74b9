/**
 * Who may say that something is out. All of it is signed: the vendor's Nostr key and its former ones in targets.json
 * (`signed.satpatch`), those of people who sign releases in root.json, those of delegates in their delegation.
 */
import type { PartyKey } from '../bytes.ts'
import { readDelegates } from './delegate.ts'
import { voicesOf } from './people.ts'
import type { VendorBlock } from './target.ts'
import type { RootSigned, TargetsSigned } from './tuf.ts'

export type Announcer =
  /** Its word is a floor: nothing older than the targets version that it names is taken. */
  | 'vendor'
  /** Its word makes devices look, and is no floor: one of several signers, or who has one product, must not hold a fleet. */
  | 'signer'
  /** The vendor's, before it was replaced: no attack, and counts for nothing. */
  | 'former'
  | 'nobody'

export type Announcers = (author: string, product: string) => Announcer

export function announcersOf(
  root: RootSigned,
  targets: Pick<TargetsSigned, 'delegations'>,
  block: Pick<VendorBlock, 'nostr' | 'formerNostr'>,
): Announcers {
  const people = new Set<string>(voicesOf(root))
  const delegates = new Map(readDelegates(targets.delegations).map(({ product, nostr }) => [product, nostr]))
  return (author, product) => {
    if (author === block.nostr) return 'vendor'
    if (people.has(author) || delegates.get(product) === author) return 'signer'
    return block.formerNostr?.includes(author as PartyKey) === true ? 'former' : 'nobody'
  }
}

/** Former keys that are named, newest first: devices hear old announcements for as long as relays keep them. */
export const MAX_FORMER = 8

/** The block under another Nostr key. */
export function withNostr<B extends Pick<VendorBlock, 'nostr' | 'formerNostr'>>(block: B, next: PartyKey): B {
  if (block.nostr === next) return block
  const former = [block.nostr, ...(block.formerNostr ?? [])].filter((key) => key !== next)
  return { ...block, nostr: next, formerNostr: former.slice(0, MAX_FORMER) }
}
