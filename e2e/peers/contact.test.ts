/** How soon peers meet, and meet again: bounds of wall time, far from what it takes where this does not work. */
import { expect, test } from 'vitest'
import { until } from './arena.ts'
import { inArena } from './in-arena.ts'

/** Between what it takes (a second) and 10 to 12 s, which the same stack takes as it is shipped, waiting for candidates. */
const FIRST_CONTACT_MS = 7000
/** The tracker has everybody announce every 25 s: who waited for that would not be back in this time. */
const BACK_MS = 18_000

test('two peers meet within seconds, and again when their wire is lost', () =>
  inArena(async (arena) => {
    const seller = await arena.member('seller', { full: true })
    const fromMs = performance.now()
    const device = await arena.member('device', { full: false })
    const met = () =>
      until(device.session.peers, ({ provenKeys }) => provenKeys.includes(seller.identity.key))
    await met()
    expect(performance.now() - fromMs).toBeLessThan(FIRST_CONTACT_MS)

    const lostMs = performance.now()
    for (const peer of seller.session.proven()) peer.drop('its wire is cut')
    await until(device.session.peers, ({ provenKeys }) => provenKeys.length === 0)
    await met()
    expect(performance.now() - lostMs).toBeLessThan(BACK_MS)
  }, 1))
