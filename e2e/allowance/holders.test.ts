/** A holder cuts deeper layers by NIP-47 `create_connection`: the keeper above runs them, the holder moves and ends them. */
import { randomBytes } from 'node:crypto'
import { afterEach, expect, test } from 'vitest'
import { publicKey } from '../../web/core/nostr/event.ts'
import { composeConnection } from '../../web/edge/wallet/nwc.ts'
import type { ConnectionRequest, ConnectionState, Wallet } from '../../web/edge/wallet/wallet.ts'
import { allowance, cut, invoiceOf, openHouse, sats, until, type House } from './harness.ts'

const houses: House[] = []
afterEach(async () => {
  for (const house of houses.splice(0)) await house.stop()
})

const asking = (client: string): ConnectionRequest => ({
  ...{ client, name: 'Ring early', limit: sats(30), isolated: false, renewal: 'never' },
  may: new Set(['pay', 'receive'] as const),
})
const told = (wallet: Wallet, wanted: (state: ConnectionState) => boolean): Promise<ConnectionState> =>
  new Promise((resolve) => {
    const end = wallet.onConnection((state) => {
      if (!wanted(state)) return
      end()
      resolve(state)
    })
  })

test('it is run by the keeper above, bounded by both, followed, moved, paused and ended by its holder', async () => {
  const house = await openHouse()
  houses.push(house)
  const [owner, shop] = [await house.account(100), await house.account(0)]
  const keeper = house.keeper({ mine: owner.wallet })
  const top = await cut(keeper, { tag: 'wallet', id: 'mine' }, 50)
  const holder = await house.open(top.connection)
  expect([...(await holder.info()).features]).toEqual(
    expect.arrayContaining(['create-connection', 'manage-connections']),
  )
  const secret = randomBytes(32)
  const client = publicKey(new Uint8Array(secret))
  const made = await holder.createConnection(asking(client))
  // The same key gets the same connection, whatever was lost.
  expect(await holder.createConnection(asking(client))).toEqual(made)
  const deep = await house.open(
    composeConnection({ wallet: made.walletPubkey, relays: made.relays, secret: secret.toString('hex') }),
  )
  const spent = told(holder, (state) => state.client === client && state.used === sats(20))
  expect(await deep.pay(await invoiceOf(shop.wallet, 20))).toMatchObject({ tag: 'paid' })
  expect(await spent).toMatchObject({ name: 'Ring early', parent: publicKey(clientOf(top.connection)) })
  expect(await allowance(keeper, top.id)).toMatchObject({ spent: sats(20) })
  const [, below] = keeper.view.get().allowances
  expect(below).toMatchObject({ name: 'Ring early', depth: 2, spent: sats(20) })
  await expect(keeper.connection(below!.id)).rejects.toMatchObject({ code: 'not-offered' })

  expect(await holder.updateConnection(client, { limit: sats(21) })).toMatchObject({ limit: sats(21) })
  expect(await deep.pay(await invoiceOf(shop.wallet, 2))).toMatchObject({ code: 'quota-exceeded' })
  await holder.updateConnection(client, { limit: sats(90), paused: true })
  expect(await deep.pay(await invoiceOf(shop.wallet, 1))).toMatchObject({ code: 'restricted' })
  await holder.updateConnection(client, { paused: false })
  // Its own limit is 90 now; the layer above has 30 left.
  expect(await deep.pay(await invoiceOf(shop.wallet, 31))).toMatchObject({ code: 'quota-exceeded' })
  expect((await holder.listConnections()).map((one) => one.client)).toEqual([client])
  await holder.deleteConnection(client)
  expect(await deep.pay(await invoiceOf(shop.wallet, 1))).toMatchObject({ tag: 'failed' })
  expect(await holder.listConnections()).toEqual([])
  expect(await owner.wallet.balance()).toBe(sats(80))
})

test('others’ layers are out of reach, and nothing is cut that the allowance itself may not', async () => {
  const house = await openHouse()
  houses.push(house)
  const owner = await house.account(100)
  const keeper = house.keeper({ mine: owner.wallet })
  const top = await cut(keeper, { tag: 'wallet', id: 'mine' }, 50, { may: { pay: true, receive: false } })
  const own = await cut(keeper, { tag: 'allowance', id: top.id }, 10)
  const holder = await house.open(top.connection)
  const client = publicKey(new Uint8Array(randomBytes(32)))
  expect(await holder.listConnections()).toEqual([])
  const foreign = publicKey(clientOf(own.connection))
  await expect(holder.updateConnection(foreign, { limit: sats(1) })).rejects.toMatchObject({
    code: 'not-found',
  })
  await expect(holder.deleteConnection(foreign)).rejects.toMatchObject({ code: 'not-found' })
  await expect(holder.createConnection({ ...asking(client), isolated: true })).rejects.toMatchObject({
    code: 'not-implemented',
  })
  // Its methods are what the asking allowance has: to receive is none of them.
  const made = await holder.createConnection(asking(client))
  expect(made.relays).toHaveLength(1)
  const { allowances } = await until(keeper.view, (view) => view.allowances.some(isDeep))
  expect(allowances.find(isDeep)).toMatchObject({ may: { pay: true, receive: false } })
})

const isDeep = ({ name }: { name: string }): boolean => name === 'Ring early'
const clientOf = (connection: string) =>
  new Uint8Array(Buffer.from(new URL(connection).searchParams.get('secret') ?? '', 'hex'))
