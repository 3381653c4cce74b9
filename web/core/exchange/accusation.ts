/**
 * A fraud proof as it travels: a Nostr event of kind FRAUD_PROOF by whoever was cheated (ARCHITECTURE.md "Nostr
 * events"). Reading looks at shape only; judging costs hashes, and at most two signatures at the very end.
 */
import { base64 } from '@scure/base'
import {
  parseInfoHash,
  parsePartyKey,
  parseSha256Hex,
  type InfoHash,
  type PartyKey,
  type Sha256Hex,
  type VendorId,
} from '../bytes.ts'
import { tagValue, verifyEvent, type EventTemplate, type NostrEvent } from '../nostr/event.ts'
import { FRAUD_PROOF } from '../nostr/kinds.ts'
import type { Shape } from '../swarm/merkle.ts'
import { checkProof, decodeProof, type FraudProof } from './fraud.ts'
import type { Quote } from './quote.ts'

/** Base64 of the largest proof there can be, within the 64 KiB of a relay's frame. */
export const MAX_CONTENT_CHARS = 60_000

/** What of a signed release a proof is checked against. */
export type SignedRelease = Readonly<{ root: Sha256Hex; shape: Shape }>

export type Accusation = Readonly<{
  event: NostrEvent
  accused: PartyKey
  vendor: VendorId
  infoHash: InfoHash
}>

export const contentOf = (proof: Uint8Array): string => base64.encode(proof)

export function accusationEvent(
  of: Readonly<{
    accused: PartyKey
    vendor: VendorId
    infoHash: InfoHash
    /** `contentOf` the proof. */
    content: string
    createdAtS: number
  }>,
): EventTemplate {
  return {
    kind: FRAUD_PROOF,
    created_at: of.createdAtS,
    tags: [
      ['p', of.accused],
      ['i', of.vendor],
      ['d', of.infoHash],
    ],
    content: of.content,
  }
}

/** Shape only, and cheap: neither the event's signature nor the proof has been looked at. */
export function readAccusation(event: NostrEvent): Accusation | undefined {
  if (event.kind !== FRAUD_PROOF || event.content.length > MAX_CONTENT_CHARS) return undefined
  const accused = parsePartyKey(tagValue(event, 'p') ?? '')
  const vendor = parseSha256Hex(tagValue(event, 'i') ?? '')
  const infoHash = parseInfoHash(tagValue(event, 'd') ?? '')
  if (accused === undefined || vendor === undefined || infoHash === undefined) return undefined
  return { event, accused, vendor, infoHash }
}

/** The proof inside; `undefined` when there is none. */
export function proofIn(event: Pick<NostrEvent, 'content'>): FraudProof | undefined {
  if (event.content.length > MAX_CONTENT_CHARS) return undefined
  try {
    return decodeProof(base64.decode(event.content))
  } catch {
    return undefined
  }
}

export type Judgement =
  | Readonly<{ tag: 'valid'; proof: FraudProof; quote: Quote }>
  /** Its author signed something untrue. */
  | Readonly<{ tag: 'false'; why: string }>
  /** The event is not its author's: nobody is to blame. */
  | Readonly<{ tag: 'forged' }>

export function judge(accusation: Accusation, release: SignedRelease): Judgement {
  const { event, accused } = accusation
  const proof = proofIn(event)
  const check = proof === undefined ? undefined : checkProof(proof, release)
  if (!verifyEvent(event)) return { tag: 'forged' }
  if (proof === undefined || check === undefined) return { tag: 'false', why: 'not a proof' }
  if (!check.ok) return { tag: 'false', why: check.why }
  if (check.seller !== accused) return { tag: 'false', why: 'about another key' }
  return { tag: 'valid', proof, quote: check.quote }
}
