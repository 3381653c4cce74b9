import { expect, test } from 'vitest'
import type { PartyKey } from '../../core/bytes.ts'
import { msat } from '../../core/money/msat.ts'
import { memoryStore } from '../release/store.ts'
import { createFakeMoney } from '../wallet/fake.ts'
import { WalletError, type ConnectionRequest, type Wallet } from '../wallet/wallet.ts'
import { grantFor } from './grants.ts'

const CLIENT = '79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798' as PartyKey
const sats = (amount: number) => msat(amount * 1000)
const wanted = (amount: number) => ({ client: CLIENT, name: 'pi', limit: sats(amount) })

/** A wallet that answers the same words with the same connection, as ours does; `lost` answers do not arrive. */
function vendorWallet(): { wallet: Wallet; lost: number } {
  const inner = createFakeMoney({ money: 'sandbox:test' }).wallet('vendor', sats(10_000))
  const made = new Map<string, ReturnType<Wallet['createConnection']>>()
  const state = {
    lost: 0,
    wallet: {
      ...inner,
      async createConnection(request: ConnectionRequest) {
        const words = JSON.stringify(request)
        const answer = made.get(words) ?? inner.createConnection(request)
        await answer
        made.set(words, answer)
        if (state.lost-- > 0) throw new WalletError('unreachable', 'No answer.')
        return answer
      },
    },
  }
  return state
}

test('a device gets one allowance: asked again it is the same, with what it really has', async () => {
  const { wallet } = vendorWallet()
  const store = memoryStore()
  const { grant, given } = await grantFor(store, wanted(500), wallet)
  expect(given).toEqual({ again: false, amount: sats(500) })
  expect(await grantFor(store, wanted(300), wallet)).toEqual({
    grant,
    given: { again: true, amount: sats(500) },
  })
  expect(await wallet.balance()).toBe(sats(9_500))
})

test('one whose answer was lost is found, whatever is asked for next', async () => {
  const vendor = vendorWallet()
  const store = memoryStore()
  vendor.lost = 1
  await expect(grantFor(store, wanted(500), vendor.wallet)).rejects.toMatchObject({ code: 'wallet' })
  const { given } = await grantFor(store, wanted(300), vendor.wallet)
  expect(given).toEqual({ again: true, amount: sats(500) })
  expect(await vendor.wallet.balance()).toBe(sats(9_500))
})

test('one that an earlier version kept, without its amount, is told again as it is', async () => {
  const { wallet } = vendorWallet()
  const kept = { walletPubkey: CLIENT, relays: ['wss://relay.example'] }
  const store = memoryStore({ [`grant/${CLIENT}`]: JSON.stringify(kept) })
  expect(await grantFor(store, wanted(300), wallet)).toEqual({ grant: kept, given: { again: true } })
  expect(await wallet.balance()).toBe(sats(10_000))
})
