/** Three layers, the middle one in a process that is killed with SIGKILL while a purchase is on its way. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, expect, test } from 'vitest'
import { allowance, cut, holdSale, openHouse, PREIMAGE, sats, type House } from './harness.ts'

const houses: House[] = []
afterEach(async () => {
  for (const house of houses.splice(0)) await house.stop()
})
const begin = async () => {
  const house = await openHouse()
  houses.push(house)
  const [owner, shop] = [await house.account(100), await house.account(0)]
  return { house, owner: owner.wallet, shop: shop.wallet }
}

/** The middle layer as a process; `line` resolves with the next line that `wanted` takes, said already or not. */
async function middle(house: House, uri: string, directory: string) {
  const script = join(import.meta.dirname, 'keeper-process.ts')
  const child = spawn(process.execPath, [script, directory, uri, house.service.url, String(sats(70))], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines: string[] = []
  let wake: () => void = () => undefined
  createInterface({ input: child.stdout }).on('line', (text) => {
    lines.push(text)
    wake()
  })
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
  house.afterwards(kill)
  return {
    kill,
    async line(wanted: RegExp): Promise<string> {
      for (;;) {
        const found = lines.find((text) => wanted.test(text))
        if (found !== undefined) return found
        await new Promise<void>((resolve) => (wake = resolve))
      }
    },
  }
}

async function threeLayers() {
  const { house, owner, shop } = await begin()
  const directory = await mkdtemp(join(tmpdir(), 'satpatch-allowance-'))
  house.afterwards(() => rm(directory, { recursive: true, force: true }))
  const top = house.keeper({ mine: owner })
  const first = await cut(top, { tag: 'wallet', id: 'mine' }, 80)
  const process = await middle(house, first.connection, directory)
  const uri = (await process.line(/^connection /)).slice('connection '.length)
  await process.line(/available 70000$/)
  // The holder's keeper does not wait long for a layer that is gone.
  const source = await house.open(uri, { replyTimeoutMs: 1_000, payTimeoutMs: 1_500 })
  const bottom = house.keeper({ above: source })
  const last = await cut(bottom, { tag: 'wallet', id: 'above' }, 60)
  return { house, owner, shop, directory, top, first, process, bottom, last }
}

test('the middle layer is killed during a purchase: reserved until it is back, then settled, no sat lost', async () => {
  const { house, owner, shop, directory, top, first, process, bottom, last } = await threeLayers()
  const holder = await house.open(last.connection, { payTimeoutMs: 3_000 })
  const sale = await holdSale(shop, 20)
  const paid = holder.pay(sale.bolt11)
  await sale.locked
  await process.line(/^flows 1 /)
  await process.kill()
  await shop.settleHoldInvoice(PREIMAGE)
  await allowance(top, first.id, ({ spent, reserved }) => spent === sats(20) && reserved === 0)
  const waiting = await allowance(bottom, last.id, ({ unknown }) => unknown > 0)
  expect(waiting).toMatchObject({ reserved: sats(20), unknown: sats(20), spent: 0, left: sats(40) })
  expect(await paid).toMatchObject({ tag: 'unknown' })

  const again = await middle(house, first.connection, directory)
  await again.line(/^flows 0 spent 20000 /)
  expect(await allowance(bottom, last.id, ({ reserved }) => reserved === 0)).toMatchObject({
    ...{ spent: sats(20), unknown: 0, left: sats(40) },
    flows: [{ state: 'settled', amount: sats(20) }],
  })
  expect(await holder.pay(sale.bolt11)).toMatchObject({ tag: 'paid', preimage: PREIMAGE })
  expect(await owner.balance()).toBe(sats(80))
  expect(await shop.balance()).toBe(sats(20))
}, 60_000)

test('while the middle layer is gone for good, the seller’s preimage settles the payment at the holder', async () => {
  const { house, shop, process, bottom, last } = await threeLayers()
  const holder = await house.open(last.connection)
  const sale = await holdSale(shop, 20)
  const paid = holder.pay(sale.bolt11)
  await sale.locked
  await process.kill()
  await shop.settleHoldInvoice(PREIMAGE)
  await allowance(bottom, last.id, ({ unknown }) => unknown === sats(20))
  await expect(bottom.showPreimage(last.id, '0e'.repeat(32))).rejects.toMatchObject({ code: 'not-found' })
  await bottom.showPreimage(last.id, PREIMAGE)
  expect(await paid).toMatchObject({ tag: 'paid', preimage: PREIMAGE })
  expect(await allowance(bottom, last.id, ({ unknown }) => unknown === 0)).toMatchObject({ spent: sats(20) })
}, 60_000)
