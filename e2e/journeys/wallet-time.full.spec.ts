/** An allowance over time: a period that ends while two pages are open. The clocks of relay and pages are put forward together. */
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import { startRelay } from '../../relay/relay.ts'
import { openBrowser } from '../support/tabs.ts'
import { balanceIs, connectWallet, openPlayWallet, send } from '../support/wallet-pages.ts'
import { testDir } from '../support/world.ts'

const HOUR_MS = 60 * 60_000
const GRANT = 1_000
const silent = { debug: nothing, info: nothing, warn: nothing, error: nothing }
function nothing(): void {}

test('an hourly allowance is whole again when its hour is over (the hour passes on clocks put forward)', async () => {
  const dir = testDir()
  let aheadMs = 0
  const relay = await startRelay({
    ...{ port: 0, host: '127.0.0.1', dataDir: path.join(dir, 'relay'), iceServers: [], log: silent },
    openAccounts: { grantMsat: GRANT * 1000, perAddress: 10 },
    now: () => Date.now() + aheadMs,
  })
  onTestFinished(() => relay.stop())
  const shop = await connectNwc((await openPlayAccount(relay.url, { name: 'shop' })).connection)
  const invoices = await Promise.all(
    [80, 50, 60].map((sats) =>
      shop.makeInvoice({ amount: msat(sats * 1000), description: 'tea', expirySeconds: 4 * 3600 }),
    ),
  )
  shop.close() // its clock stays as it is
  const [first, above, later] = invoices.map(({ bolt11 }) => bolt11)

  // All begin early in an hour: none ends before it is awaited.
  aheadMs = HOUR_MS + 5 * 60_000 - (Date.now() % HOUR_MS)
  const people = [await openBrowser('owner', dir), await openBrowser('holder', dir)] as const
  for (const { context } of people) await context.clock.install({ time: Date.now() + aheadMs })
  const [owner, holder] = people.map(({ page }) => page)
  if (!owner || !holder) throw new Error('nobody is here')
  await openPlayWallet(owner, relay.url)
  await owner.getByRole('button', { name: 'New allowance' }).click()
  await owner.getByLabel('Name').fill('Kitchen')
  await owner.getByLabel(/^Limit in/).fill('100')
  await owner.getByLabel('Renews').selectOption({ label: 'Every hour' })
  await owner.getByRole('radio', { name: /in this browser/ }).check()
  await owner.getByRole('button', { name: 'Make it' }).click()
  const connection = (await owner.getByTestId('connection').innerText()).replaceAll(/\s/g, '')
  await owner.getByRole('button', { name: 'Done' }).click()
  await connectWallet(holder, relay.url, connection)

  await balanceIs(holder, '100.000')
  await send(holder, first ?? '')
  await holder.getByRole('heading', { name: 'Paid' }).waitFor()
  await holder.getByRole('button', { name: 'Done' }).click()
  await balanceIs(holder, '20.000')
  await owner.getByText(/^80(\.000)? spent$/).waitFor()
  await send(holder, above ?? '')
  await holder.getByRole('dialog').getByRole('alert').waitFor()
  await holder.getByRole('button', { name: 'Close' }).click()

  // The rest of the hour passes: both pages show the new one by themselves.
  const jumpMs = 56 * 60_000
  aheadMs += jumpMs
  for (const { context } of people) await context.clock.fastForward(jumpMs)
  await balanceIs(holder, '100.000')
  await owner.getByText(/^0(\.000)? spent$/).waitFor()
  await send(holder, later ?? '')
  await holder.getByRole('heading', { name: 'Paid' }).waitFor()
  await holder.getByRole('button', { name: 'Done' }).click()
  await balanceIs(holder, '40.000')
  await owner.getByText(/^60(\.000)? spent$/).waitFor()
  await balanceIs(owner, '860.000')
  expect(await owner.getByText(/renews/).count()).toBeGreaterThan(0)
})
