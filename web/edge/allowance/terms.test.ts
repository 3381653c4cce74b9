import { expect, test } from 'vitest'
import { msat } from '../../core/money/msat.ts'
import type { NewAllowance } from './api.ts'
import { MAX_ALLOWANCES, termsOf } from './terms.ts'

const wanted: NewAllowance = {
  ...{ name: ' pi ', source: { tag: 'wallet', id: 'mine' }, limit: msat(5), renewal: 'daily', home: 'here' },
  may: { pay: true, receive: false },
}
const about = { nowMs: 1000, count: 0, depth: 1 }

test('terms are taken as they are wanted', () => {
  const terms = termsOf({ ...wanted, expiresAtMs: 1001 }, about)
  expect(terms).toEqual({
    ...{ name: 'pi', limit: 5, renewal: 'daily', expiresAtMs: 1001, paused: false, revoked: false },
    may: { pay: true, receive: false },
  })
  expect(termsOf(wanted, { ...about, depth: 16, count: MAX_ALLOWANCES - 1 })).not.toHaveProperty(
    'expiresAtMs',
  )
})

test.each([
  ['no name', { name: '  ' }, {}, /1 to 100/],
  ['a long name', { name: 'x'.repeat(101) }, {}, /1 to 100/],
  ['an expiry that has been', { expiresAtMs: 1000 }, {}, /past/],
  ['nothing allowed', { may: { pay: false, receive: false } }, {}, /to pay or to receive/],
  ['a 17th layer', {}, { depth: 17 }, /16/],
  ['one too many', {}, { count: MAX_ALLOWANCES }, /100/],
])('%s is refused', (_, change, more, says) => {
  expect(() => termsOf({ ...wanted, ...change }, { ...about, ...more })).toThrow(says)
})
