/**
 * Which proofs of fraud the relay keeps. Whether one is true only a signed release tells, and each reader checks
 * that itself; here it must hold a receipt that the accused key signed, which nobody else can make up.
 */
import { proofIn, readAccusation } from '../../web/core/exchange/accusation.ts'
import { openQuote, readReceipt } from '../../web/core/exchange/quote.ts'
import type { NostrEvent } from '../../web/core/nostr/event.ts'
import { FRAUD_PROOF } from '../../web/core/nostr/kinds.ts'
import type { EventStore } from './store.ts'

export type AccusationVerdict = 'welcome' | 'told already' | Readonly<{ refused: string }>

/** For an event whose signature has been checked. */
export function lookAtAccusation(event: NostrEvent, store: EventStore, nowS: number): AccusationVerdict {
  const accusation = readAccusation(event)
  if (accusation === undefined)
    return { refused: 'invalid: a proof of fraud names the key (p), the vendor (i) and the info-hash (d)' }
  const { accused } = accusation
  // One word of an author about a key is enough: the first that holds convicts for ever.
  const same = { kinds: [FRAUD_PROOF], authors: [event.pubkey], '#p': [accused] }
  if (store.find(same, nowS, 1).length > 0) return 'told already'
  const proof = proofIn(event)
  const receipt = proof && readReceipt(proof.receipt)
  if (receipt === undefined) return { refused: 'invalid: the content is not a proof of fraud' }
  if (receipt.quote.seller !== accused || openQuote(receipt.bytes, receipt.sig) === undefined)
    return { refused: 'invalid: the accused key did not sign the receipt in this proof' }
  return 'welcome'
}
