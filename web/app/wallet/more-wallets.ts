/** "More wallets": Bitcoin Connect, loaded when it is asked for. It keeps nothing: our vault does. */
import * as v from 'valibot'
import { connectWebLn, type WebLnProvider } from '../../edge/wallet/webln.ts'
import type { Wallet } from '../../edge/wallet/wallet.ts'

export type Chosen = { tag: 'connection'; text: string } | { tag: 'wallet'; wallet: Wallet }

const configSchema = v.object({ nwcUrl: v.optional(v.string()) })
let begun = false

/** `onShow` is called when its own dialog is about to open. `undefined`: the person closed it. */
export async function chooseFromMore(onShow: () => void): Promise<Chosen | undefined> {
  const more = await import('@getalby/bitcoin-connect')
  if (!begun) {
    more.init({ appName: 'Satpatch', showBalance: false, persistConnection: false, autoConnect: false })
    begun = true
  }
  onShow()
  let provider: WebLnProvider
  try {
    provider = (await more.requestProvider()) as WebLnProvider
  } catch {
    return undefined
  }
  const config = v.safeParse(configSchema, more.getConnectorConfig())
  const text = config.success ? config.output.nwcUrl : undefined
  more.closeModal()
  if (text === undefined) return { tag: 'wallet', wallet: await connectWebLn(provider) }
  // The same wallet over our own client, which asks again and looks payments up.
  more.disconnect()
  return { tag: 'connection', text }
}
