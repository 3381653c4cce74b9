/** The vendor's wallet: a play-money account that the relay opens once for this browser. */
import type { Money } from '../../core/money/msat.ts'
import { openPlayAccount } from '../../edge/release/api.ts'
import type { TextStore } from '../../edge/release/store.ts'
import { connectNwc } from '../../edge/wallet/nwc.ts'
import type { Wallet } from '../../edge/wallet/wallet.ts'
import { keepPlay, keptPlay, moneyPlace, releasesPlay } from '../../edge/wallets/play.ts'
import { tellWalletsChanged } from '../wallet/changed.ts'
import { browserVault } from '../wallet/vault.ts'

/**
 * Only one tab opens the account: the others wait and read it. `vendor` tells those of one browser apart; `store` has
 * the connections that earlier versions kept in clear. @throws ApiError, VaultError, WalletError
 */
export async function openVendorWallet(vendor: string, store: TextStore, money: Money): Promise<Wallet> {
  const vault = await browserVault()
  const [name, place] = [releasesPlay(vendor, money), moneyPlace(money)]
  const connection = await navigator.locks.request('satpatch/vendor-wallet', async () => {
    const clear = { get: () => store.get(place), delete: () => store.delete(place) }
    const kept = await keptPlay(vault, name, clear)
    if (kept !== undefined) return kept
    const account = await openPlayAccount(location.origin, { name: 'vendor' })
    await keepPlay(vault, name, account.connection)
    tellWalletsChanged()
    return account.connection
  })
  return connectNwc(connection)
}
