/**
 * The pages with real Lightning behind the wallet service: two LND nodes with a channel, a relay before each. One person
 * connects the one node's wallet, the other sells with the other's; every payment is an HTLC that both nodes have.
 * Where LND is not built, it says so and runs nothing.
 */
import fs from 'node:fs'
import path from 'node:path'
import type { Page } from 'playwright'
import { expect, onTestFinished, test } from 'vitest'
import { fromHex, sha256Hex } from '../../web/core/bytes.ts'
import { msat } from '../../web/core/money/msat.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import { booksAgree, htlcsBetween } from '../lnd-lab/books.ts'
import { binariesOrWhy } from '../lnd-lab/build.ts'
import { startService } from '../lnd-lab/lab.ts'
import { startLab } from '../lnd-lab/nodes.ts'
import { ONE_LOOK, violations } from '../support/axe.ts'
import { readCode } from '../support/camera.ts'
import { picture } from '../support/pictures.ts'
import { createPrograms } from '../support/processes.ts'
import { openBrowser } from '../support/tabs.ts'
import { balanceIs, connectUnderPassphrase, copied, cutAllowance, send } from '../support/wallet-pages.ts'
import { testDir } from '../support/world.ts'

const OWN_SATS = 100_000
const PASSPHRASE = 'four random plain words'
const OPINION = 'Second flush, three minutes, no milk.'
const PREIMAGE = '0d'.repeat(32)
const LAB_TIMEOUT_MS = 10 * 60_000

const built = binariesOrWhy()
if (built.tag === 'absent') console.log(`The wallet pages with LND are left out: ${built.why}`)

const sats = (amount: number) => msat(amount * 1000)
const shows = (page: Page, text: string | RegExp): Promise<void> => page.getByText(text).first().waitFor()

async function stage() {
  if (built.tag === 'absent') throw new Error(built.why)
  const dir = testDir()
  const programs = createPrograms(path.join(dir, 'logs'))
  onTestFinished(() => programs.stopAll())
  const { alice, bob } = await startLab(dir, programs, built.binaries)
  const buying = await startService(programs, alice, { dir, ownSats: OWN_SATS })
  const selling = await startService(programs, bob, { dir, ownSats: OWN_SATS })
  return { dir, alice, bob, buying, selling }
}

/** What the other person's page asks for, as it was copied. */
async function receive(page: Page, amount: number, what: string): Promise<string> {
  await page.getByRole('button', { name: 'Receive' }).click()
  await page.getByLabel(/^Amount in/).fill(String(amount))
  await page.getByLabel('For').fill(what)
  await page.getByRole('button', { name: 'Make an invoice' }).click()
  const invoice = await page.getByTestId('invoice').innerText()
  expect(await copied(page, 'Copy the invoice')).toBe(invoice)
  expect((await readCode(page.getByRole('img', { name: 'Code of the invoice' }))).toLowerCase()).toBe(invoice)
  return invoice
}
async function received(page: Page): Promise<void> {
  await page.getByRole('heading', { name: 'Received' }).waitFor()
  await page.getByRole('button', { name: 'Done' }).click()
}
async function paid(page: Page): Promise<void> {
  await page.getByRole('heading', { name: 'Paid' }).waitFor()
  await page.getByRole('button', { name: 'Done' }).click()
}

test.skipIf(built.tag === 'absent')(
  'real LND behind the pages: connected, paid, received, an allowance cut, held, and a good bought with it',
  async () => {
    const { dir, alice, bob, buying, selling } = await stage()
    const [owner, payee, holder] = [
      await openBrowser('owner', dir),
      await openBrowser('payee', dir),
      await openBrowser('holder', dir),
    ]

    // What money this is and what the wallet can do is said in words; its secret goes under a lock.
    await connectUnderPassphrase(owner.page, buying.url, buying.connection, PASSPHRASE)
    await balanceIs(owner.page, '100,000.000')
    await shows(owner.page, 'These are test sats: they move over Lightning as real ones do')
    for (const words of ['Holds invoices.', 'You can sell in atomic mode', 'Makes connections itself.'])
      await shows(owner.page, words)
    await connectUnderPassphrase(payee.page, selling.url, selling.connection, PASSPHRASE)
    await balanceIs(payee.page, '100,000.000')

    // A payment, with what it may cost at most said before.
    const invoice = await receive(payee.page, 250, 'tea for two')
    await picture(payee.page, 'lightning-receive')
    await owner.page.getByRole('button', { name: 'Send' }).click()
    await owner.page.getByLabel('Invoice or Lightning address').fill(invoice)
    await shows(owner.page, 'at most about')
    await picture(owner.page, 'lightning-send')
    await owner.page.getByRole('button', { name: 'Pay', exact: true }).click()
    await paid(owner.page)
    await received(payee.page)
    await balanceIs(owner.page, '99,750.000')
    await balanceIs(payee.page, '100,250.000')

    // An allowance of it, in another browser: spent, moved while it is in use, refused above.
    const allowance = await cutAllowance(owner.page, 'Kitchen', 1_000)
    await connectUnderPassphrase(holder.page, buying.url, allowance, PASSPHRASE)
    await balanceIs(holder.page, '1,000.000')
    await send(holder.page, await receive(payee.page, 100, 'sugar'))
    await paid(holder.page)
    await received(payee.page)
    await balanceIs(holder.page, '900.000')
    await shows(owner.page, '100 spent')
    await balanceIs(owner.page, '99,650.000')
    const slider = owner.page.getByRole('slider', { name: /Limit of Kitchen/ })
    await slider.fill('120')
    await balanceIs(holder.page, '20.000')
    await send(holder.page, await receive(payee.page, 50, 'more sugar'))
    await holder.page.getByRole('dialog').getByRole('alert').waitFor()
    await holder.page.getByRole('button', { name: 'Close' }).click()
    await payee.page.getByRole('button', { name: 'Close' }).click()
    await slider.fill('1000')
    await balanceIs(holder.page, '900.000')

    // The seller holds the payment: locked at node, service and allowance until it takes it.
    const seller = await connectNwc(selling.connection)
    onTestFinished(() => seller.close())
    const hold = await seller.makeHoldInvoice({
      ...{ amount: sats(30), description: 'held', expirySeconds: 600 },
      paymentHash: sha256Hex(fromHex(PREIMAGE)),
    })
    const locked = new Promise((resolve) =>
      seller.onEvent((event) => event.tag === 'hold-accepted' && resolve(event)),
    )
    await send(holder.page, hold.bolt11)
    await locked
    await shows(owner.page, /40\.000 locked/)
    await seller.settleHoldInvoice(PREIMAGE)
    await paid(holder.page)
    await shows(owner.page, '130 spent')
    await balanceIs(owner.page, '99,620.000')

    // The shop, over the same two nodes: words for the allowance's sats.
    await payee.page.getByRole('link', { name: 'Shop' }).click()
    await payee.page.getByRole('button', { name: 'Sell', exact: true }).click()
    await payee.page.getByRole('combobox', { name: 'Paid into' }).waitFor()
    await payee.page.getByLabel('Title').fill('How to make tea')
    await payee.page.getByLabel('The opinion').fill(OPINION)
    await payee.page.getByLabel(/^Price in/).fill('15')
    await payee.page.getByRole('button', { name: 'List it' }).click()
    await payee.page.getByRole('button', { name: 'Open the shop' }).click()
    const code = await copied(payee.page, 'Copy the code')
    await holder.page.getByRole('link', { name: 'Shop' }).click()
    await holder.page.getByLabel('Code of the shop').fill(code)
    await holder.page.getByRole('button', { name: 'Enter', exact: true }).click()
    await holder.page.getByLabel('With', { exact: true }).waitFor()
    expect(await holder.page.content()).not.toContain(OPINION)
    await holder.page.getByRole('button', { name: 'Buy How to make tea' }).click()
    expect(await holder.page.getByTestId('good').innerText()).toBe(OPINION)
    await shows(payee.page, 'in 1 sale')
    await shows(owner.page, '145 spent')
    await balanceIs(owner.page, '99,605.000')
    expect(await seller.balance()).toBe(sats(OWN_SATS + 250 + 145))
    expect(await violations(owner.page, ONE_LOOK)).toEqual([])
    await picture(owner.page, 'lightning-wallet')

    // Node by node: each of the four payments left the one and came to the other, and no sat more.
    const { sent, received: came } = await htlcsBetween(alice, bob)
    expect([...sent.values()].map(({ amount }) => amount).toSorted((a, b) => a - b)).toEqual(
      [15, 30, 100, 250].map(sats),
    )
    expect(new Map([...sent].map(([hash, { amount }]) => [hash, amount]))).toEqual(came)
    for (const one of [buying, selling]) console.log((await booksAgree(one)).text)

    const secrets = [buying, selling].map(({ connection }) => new URL(connection).searchParams.get('secret'))
    for (const { page, name } of [owner, payee, holder]) {
      const kept = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }))
      const log = path.join(dir, 'logs', `${name}-console.log`)
      const said = fs.existsSync(log) ? fs.readFileSync(log, 'utf8') : ''
      for (const secret of secrets) expect(kept + said + page.url()).not.toContain(secret)
    }
  },
  LAB_TIMEOUT_MS,
)
