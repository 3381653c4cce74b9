/** What makes a "release" on a shop's list more than a word: the very file that a vendor has signed (TUF). */
import type { Sha256Hex, VendorId } from '../../core/bytes.ts'
import { fetchRelayConfig } from '../relay-config.ts'
import { refresh } from '../release/mirror.ts'
import { memoryStore } from '../release/store.ts'

/** A release whose file has this hash, as its vendor's verified metadata tells; `name` is the vendor's own word. */
export type SignedBy = Readonly<{ vendor: VendorId; name: string; product: string; version: string }>

export type AskSigned = Readonly<{
  /** The relay's base URL, http(s)://. */
  relay: string
  nowMs: number
  fetch: typeof fetch
}>

/** Vendors that are looked through when none is named. */
const MAX_VENDORS = 20

/**
 * Whether `vendor` has signed this file. The relay cannot lie about it: a vendor's id is the hash of its first root.
 * `undefined` also while the relay does not answer.
 */
export async function signedBy(
  vendor: VendorId,
  sha256: Sha256Hex,
  { relay, nowMs, fetch }: AskSigned,
): Promise<SignedBy | undefined> {
  const found = await refresh({ mirrors: [relay], vendor, store: memoryStore(), nowMs, fetch })
  if (found.tag !== 'ok') return undefined
  const release = found.verified.releases.find((one) => one.sha256 === sha256)
  if (!release) return undefined
  const { product, version } = release
  return { vendor, name: found.verified.vendorBlock.name, product, version }
}

/** Which of a relay's vendors has signed it, for a seller who need not know. @throws RelayConfigError */
export async function whoSigned(sha256: Sha256Hex, ask: AskSigned): Promise<SignedBy | undefined> {
  const { vendors } = await fetchRelayConfig(ask.relay, ask.fetch)
  for (const { id } of vendors.slice(0, MAX_VENDORS)) {
    const found = await signedBy(id, sha256, ask)
    if (found) return found
  }
  return undefined
}

/** The base URL of the relay that a shop's code names: its Nostr relay is at `/nostr` of it. */
export function relayOf(nostrUrl: string): string {
  const url = new URL(nostrUrl)
  return `${url.protocol === 'wss:' ? 'https:' : 'http:'}//${url.host}`
}
