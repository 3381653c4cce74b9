/** What a carried release says of itself. Pure. */
import type { DownloadSnapshot } from '../swarm/api.ts'
import type { CarryState } from './api.ts'

export type CarryFacts = Readonly<{
  /** Why it could not be begun; tried again. */
  trouble: string | undefined
  /** Its owner wants it carried now. */
  wanted: boolean
  /** What the disk said, while that rests. */
  disk: string | undefined
  complete: boolean
  download: DownloadSnapshot['state'] | undefined
  /** The download that runs may pay. */
  pays: boolean
  /** The owner's terms allow to pay for a first copy. */
  mayPay: boolean
}>

export function carryState(facts: CarryFacts): CarryState {
  const { trouble, disk, download } = facts
  if (trouble !== undefined) return { tag: 'trouble', text: trouble }
  if (!facts.wanted) return { tag: 'held' }
  if (disk !== undefined) return { tag: 'trouble', text: disk }
  if (facts.complete) return { tag: 'seeding' }
  if (!download || download.tag === 'looking' || download.tag === 'stopped') return { tag: 'looking' }
  if (download.tag === 'buying' || download.tag === 'complete') return { tag: 'fetching' }
  if (!facts.pays)
    return facts.mayPay
      ? { tag: 'looking' }
      : {
          tag: 'waiting',
          text: 'Nobody gives it away now. Allow a sum for first copies in your terms, or wait.',
        }
  if (download.why === 'funds')
    return {
      tag: 'waiting',
      text: `Its first copy needs ${Math.ceil(download.needMsat / 1000)} sats more in your wallet.`,
    }
  return { tag: 'waiting', text: download.text }
}

/** Pieces of a bitfield in BEP 3 order. */
export function countBits(bits: Uint8Array, pieces: number): number {
  let have = 0
  for (let piece = 0; piece < pieces; piece++) if ((bits[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) have++
  return have
}
