/** Why nothing moves, for people: what a download waits for. */
import { msat, windowPrice, type Money, type Msat } from '../money/msat.ts'
import { withWallet } from './buyer-books.ts'
import { budgetAfter, smallestMissing } from './buyer-limits.ts'
import { usable, type Blocked } from './buyer-split.ts'
import { restUntilMs, wantsOf, type Buyer } from './buyer-state.ts'

/** How long a seller that is busy is left alone at most. */
export const BUSY_REST_MS = 1_000

export type Outlook =
  | { tag: 'complete' }
  /** `mirror`: a plain HTTP mirror is being fetched from right now. */
  | { tag: 'buying'; mirror?: boolean }
  | { tag: 'looking' }
  | { tag: 'funds'; need: Msat }
  | { tag: 'budget'; of: 'sats' | 'bytes' }
  | { tag: 'price'; lowest: Msat }
  | { tag: 'money'; offered: Money | undefined }
  | { tag: 'unproven' }

export function outlook(buyer: Buyer, nowMs: number): Outlook {
  if (buyer.haveCount === buyer.have.length) return { tag: 'complete' }
  let busy = false
  let moves = false
  let mirror = false
  for (const window of buyer.windows.values()) {
    if (window.elsewhere || (window.mode === 'credit' && withWallet(window))) continue
    if (window.state === 'held' && window.amount > 0) busy = true
    else moves = true
    if (window.source === 'mirror') mirror = true
  }
  if (moves) return mirror ? { tag: 'buying', mirror } : { tag: 'buying' }
  let cheapest: Msat | undefined
  let blocked: Blocked = { why: 'nobody' }
  for (const peer of buyer.peers.values()) {
    if (wantsOf(buyer, peer) === 0) continue
    const price = usable(buyer, peer, nowMs)
    if (typeof price !== 'number') {
      if (blocked.why === 'nobody') blocked = price
      continue
    }
    const untilMs = restUntilMs(buyer, peer)
    if (untilMs > nowMs) {
      if (untilMs - nowMs <= BUSY_REST_MS) busy = true
      continue
    }
    if (price === 0) return { tag: 'buying' }
    if (cheapest === undefined || price < cheapest) cheapest = price
  }
  if (cheapest === undefined) {
    if (blocked.why === 'price') return { tag: 'price', lowest: blocked.lowest }
    if (blocked.why === 'money') return { tag: 'money', offered: blocked.offered }
    return { tag: busy ? 'buying' : 'looking' }
  }
  const { under, policy } = buyer
  const next = smallestMissing(buyer)
  if (budgetAfter(buyer, windowPrice(next, cheapest, buyer.money)) < 0) return { tag: 'budget', of: 'sats' }
  if (buyer.paidBytes + under.lockedBytes + next > policy.budgetBytes) return { tag: 'budget', of: 'bytes' }
  const rest = windowPrice(buyer.missingBytes, cheapest, buyer.money)
  if (rest > (buyer.balance ?? 0)) return { tag: 'funds', need: msat(rest - (buyer.balance ?? 0)) }
  return { tag: 'unproven' }
}
