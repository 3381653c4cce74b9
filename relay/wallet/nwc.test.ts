import { randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import { toHex } from '../../web/core/bytes.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import { composeConnection, connectNwc } from '../../web/edge/wallet/nwc.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { walletSuite } from '../../web/edge/wallet/wallet-suite.ts'
import { startService } from './harness.ts'

walletSuite('NWC against the wallet service', async (options) => {
  const service = await startService(options)
  const wallets: Wallet[] = []
  const connect = async (uri: string): Promise<Wallet> => {
    const wallet = await connectNwc(uri, { nowMs: service.now })
    wallets.push(wallet)
    // The standing subscription is in place when the first answer has come over it.
    await wallet.balance()
    return wallet
  }
  return {
    open: async (grantMsat) => connect((await service.wallet.openAccount({ grantMsat })).connection),
    async cut(parent, request) {
      const secret = new Uint8Array(randomBytes(32))
      const { walletPubkey, relays } = await parent.createConnection({
        ...request,
        client: publicKey(secret),
      })
      return connect(composeConnection({ wallet: walletPubkey, relays, secret: toHex(secret) }))
    },
    advance: service.advance,
    async stop() {
      const report = service.wallet.audit()
      for (const wallet of wallets) wallet.close()
      await service.stop()
      expect(report.problems).toEqual([])
    },
  }
})
