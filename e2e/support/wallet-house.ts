/** The wallet journeys' fixture: a relay that gives play sats, and wallets of people who need no browser. All end with the test. */
import { onTestFinished } from 'vitest'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { openHouse, type House } from './house.ts'
import { testDir } from './world.ts'

const ACCOUNTS = 100

export type WalletHouse = Readonly<{ dir: string; house: House; base: string }>

/** A house whose relay gives each new account `grantSats`. */
export async function openWalletHouse(grantSats: number): Promise<WalletHouse> {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats, accounts: ACCOUNTS })
  onTestFinished(() => house.stop())
  return { dir, house, base: house.relay.url }
}

/** The same, and a shop to pay at. */
export async function openHouseWithShop(grantSats: number): Promise<WalletHouse & { shop: Wallet }> {
  const opened = await openWalletHouse(grantSats)
  const { wallet } = await openAccount(opened.base, 'shop')
  return { ...opened, shop: wallet }
}

/** A new account of the relay at `base`. */
export async function openAccount(
  base: string,
  name: string,
): Promise<Readonly<{ wallet: Wallet; connection: string }>> {
  const { connection } = await openPlayAccount(base, { name })
  return { wallet: await holdWallet(connection), connection }
}

/** Holds a connection string, as a program does. */
export async function holdWallet(connection: string): Promise<Wallet> {
  const wallet = await connectNwc(connection)
  onTestFinished(() => wallet.close())
  return wallet
}
