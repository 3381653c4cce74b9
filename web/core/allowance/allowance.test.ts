import { expect, test } from 'vitest'
import { fromHex, sha256Hex } from '../bytes.ts'
import { msat } from '../money/msat.ts'
import { step, type AllowanceEvent, type Step } from './allowance.ts'
import { leftOf, newAllowance, reservedOf, wakesAt, type Payment, type Terms } from './state.ts'

const NOON = Date.UTC(2026, 10, 21, 12)
const preimage = '0b'.repeat(32)
const paymentHash = sha256Hex(fromHex(preimage))
const terms: Terms = {
  ...{ name: 'pi', limit: msat(1000), renewal: 'daily', paused: false, revoked: false },
  may: { pay: true, receive: false },
}
const asks = (request: string, amount = 600, over: object = {}): AllowanceEvent => ({
  tag: 'pay-asked',
  pay: {
    ...{ request, bolt11: 'lnbcrt1', paymentHash, amount: msat(amount), ownAmount: false, description: '' },
    ...{ expiresAtMs: NOON + 864_000_000, maxFee: msat(10), deadAtMs: NOON + 360_000 },
  },
  ...over,
})
const begin = (change: Partial<Terms> = {}): Step => ({
  state: newAllowance({ ...terms, ...change }, NOON),
  effects: [],
})
const after = (from: Step, ...events: AllowanceEvent[]): Step =>
  events.reduce<Step>((at, event) => step(at.state, event, NOON), from)
const tags = ({ effects }: Step): string[] => effects.map(({ tag }) => tag)
const refusal = ({ effects }: Step): string | undefined => {
  const found = effects.find(({ tag }) => tag === 'refuse')
  return found?.tag === 'refuse' ? found.code : undefined
}
const archived = ({ effects }: Step): Payment => {
  const found = effects.find(({ tag }) => tag === 'archive')
  if (found?.tag !== 'archive') throw new Error('nothing was decided')
  return found.payment
}
const paid: AllowanceEvent = { tag: 'source-paid', paymentHash, preimage, fees: msat(4) }
const refused: AllowanceEvent = { tag: 'source-refused', paymentHash, code: 'PAYMENT_FAILED', message: 'no' }

test('a payment is on the medium before the source is asked, and counted with what it really cost', () => {
  const asked = after(begin(), asks('a'))
  expect(tags(asked)).toEqual(['save', 'pay'])
  expect(leftOf(asked.state, NOON)).toBe(390)
  const settled = after(asked, paid)
  expect(tags(settled)).toEqual(['archive', 'save', 'answer', 'tell-paid'])
  expect(leftOf(settled.state, NOON)).toBe(396)
})

test.each([
  ['above what is left', {}, asks('a', 991), 'QUOTA_EXCEEDED'],
  ['paused', { paused: true }, asks('a'), 'RESTRICTED'],
  ['revoked', { revoked: true }, asks('a'), 'UNAUTHORIZED'],
  ['expired', { expiresAtMs: NOON }, asks('a'), 'UNAUTHORIZED'],
  ['may only receive', { may: { pay: false, receive: true } }, asks('a'), 'RESTRICTED'],
  ['without an amount', {}, asks('a', 0), 'OTHER'],
] as const)('%s: refused, nothing is asked and nothing kept', (_, change, event, code) => {
  const done = after(begin(change), event)
  expect(refusal(done)).toBe(code)
  expect(tags(done)).toEqual(['refuse'])
  expect(reservedOf(done.state)).toBe(0)
})

test('what fits exactly goes through', () => {
  expect(tags(after(begin(), asks('a', 990)))).toEqual(['save', 'pay'])
})

test('a request that comes again asks nothing; another for the same invoice waits with it', () => {
  const asked = after(begin(), asks('a'))
  expect(tags(after(asked, asks('a')))).toEqual([])
  const two = after(asked, asks('b'))
  expect(tags(two)).toEqual(['save'])
  const settled = after(two, paid)
  expect(settled.effects.filter(({ tag }) => tag === 'answer')).toHaveLength(2)
  const earlier = archived(settled)
  expect(tags(after(settled, asks('b', 600, { earlier })))).toEqual(['answer'])
  expect(refusal(after(settled, asks('c', 600, { earlier })))).toBe('PAYMENT_FAILED')
})

test('what failed may be asked for again, but not by the old request; its late preimage counts', () => {
  const failed = after(begin(), asks('a'), refused)
  const earlier = archived(failed)
  expect(leftOf(failed.state, NOON)).toBe(1000)
  expect(tags(after(failed, asks('a', 600, { earlier })))).toEqual(['answer'])
  const again = after(failed, asks('b', 600, { earlier }))
  expect(tags(again)).toEqual(['save', 'pay'])
  // A look-up that finds the first attempt does not end the second.
  const lost = after(again, { tag: 'source-silent', paymentHash, why: 'no answer' })
  const found = after(lost, { tag: 'looked-up', paymentHash, found: { tag: 'failed' } })
  expect(reservedOf(found.state)).toBe(610)
  const late = after(failed, { ...paid, earlier })
  expect(late.state.spent).toBe(604)
  expect(archived(late).fate.tag).toBe('paid')
})

test('no answer: reserved and looked up, at growing distances, until it is known', () => {
  const lost = after(begin(), asks('a'), { tag: 'source-silent', paymentHash, why: 'no answer' })
  expect(wakesAt(lost.state, NOON)).toBe(NOON + 1000)
  expect(tags(step(lost.state, { tag: 'ticked' }, NOON + 999))).toEqual([])
  const ticked = step(lost.state, { tag: 'ticked' }, NOON + 1000)
  expect(tags(ticked)).toEqual(['look-up'])
  expect(wakesAt(ticked.state, NOON + 1000)).toBe(NOON + 3000)
  const nothing: AllowanceEvent = { tag: 'looked-up', paymentHash, found: { tag: 'nothing' } }
  expect(reservedOf(step(ticked.state, nothing, NOON + 359_999).state)).toBe(610)
  expect(archived(step(ticked.state, nothing, NOON + 360_000)).fate.tag).toBe('failed')
  const pending: AllowanceEvent = { tag: 'looked-up', paymentHash, found: { tag: 'pending' } }
  expect(reservedOf(step(ticked.state, pending, NOON + 900_000).state)).toBe(610)
})

test('after a kill everything that was asked is looked up, and nothing is paid', () => {
  const asked = after(begin(), asks('a'))
  const woken = after(asked, { tag: 'woken' })
  expect(tags(woken)).toEqual(['look-up'])
  expect(woken.state.open.get(paymentHash)?.fate.tag).toBe('unknown')
})

test('a proof that does not match proves nothing; the right one settles, from whoever shows it', () => {
  const asked = after(begin(), asks('a'))
  const lied = after(asked, { ...paid, preimage: '0c'.repeat(32) })
  expect(reservedOf(lied.state)).toBe(610)
  expect(tags(after(lied, { tag: 'preimage-shown', preimage: '0c'.repeat(32) }))).toEqual([])
  expect(tags(after(lied, { tag: 'preimage-shown', preimage: 'nonsense' }))).toEqual([])
  expect(after(lied, { tag: 'preimage-shown', preimage }).state.spent).toBe(610)
})

test('a lowered limit leaves less than nothing to start, and what is in flight counts', () => {
  const lowered = after(begin(), asks('a'), { tag: 'terms-set', change: { limit: msat(0) } })
  expect(leftOf(lowered.state, NOON)).toBe(0)
  expect(after(lowered, paid).state.spent).toBe(604)
})

test('a period renews by the calendar; what was asked before it counts in its own', () => {
  const asked = after(begin(), asks('a'), { tag: 'topped-up', amount: msat(50) })
  const tomorrow = NOON + 86_400_000
  expect(leftOf(asked.state, NOON)).toBe(440)
  expect(leftOf(asked.state, tomorrow)).toBe(390)
  const settled = step(asked.state, paid, tomorrow)
  expect(leftOf(settled.state, tomorrow)).toBe(1000)
  expect(settled.state.totalSpent).toBe(604)
  // Set back, a clock renews nothing.
  const spent = step(step(settled.state, asks('b'), tomorrow).state, { ...paid }, tomorrow)
  expect(leftOf(spent.state, NOON)).toBe(396)
  expect(leftOf(step(spent.state, { tag: 'ticked' }, NOON).state, tomorrow)).toBe(396)
})

test('changing the renewal back and forth frees nothing; topping up without renewal raises the limit', () => {
  const spent = after(begin(), asks('a'), paid)
  const changed = after(
    spent,
    { tag: 'terms-set', change: { renewal: 'hourly' } },
    { tag: 'terms-set', change: { renewal: 'never' } },
  )
  expect(leftOf(changed.state, NOON)).toBe(396)
  expect(after(changed, { tag: 'topped-up', amount: msat(100) }).state.terms.limit).toBe(1100)
})
