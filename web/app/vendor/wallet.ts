/** The vendor's wallet: a play-money account that the relay opens once for this browser. */
import type { Money } from '../../core/money/msat.ts'
import { openPlayAccount } from '../../edge/release/api.ts'
import type { TextStore } from '../../edge/release/store.ts'
import { connectNwc } from '../../edge/wallet/nwc.ts'
import type { Wallet } from '../../edge/wallet/wallet.ts'

/** The connection, a secret, under the money that it is in: another relay's play money is another account. */
const place = (money: Money): string => `wallet/${money.replace(/[^A-Za-z0-9]/g, '-')}`

/** Only one tab opens the account: the others wait and read it. @throws ApiError, WalletError */
export async function openVendorWallet(store: TextStore, money: Money): Promise<Wallet> {
  const connection = await navigator.locks.request('satpatch/vendor-wallet', async () => {
    const kept = await store.get(place(money))
    if (kept !== undefined) return kept
    const account = await openPlayAccount(location.origin, { name: 'vendor' })
    await store.put(place(money), account.connection)
    return account.connection
  })
  return connectNwc(connection)
}
