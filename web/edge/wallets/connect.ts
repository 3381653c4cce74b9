/** Opening a wallet, step by step, so that a page can say where it stands. */
import type { Msat } from '../../core/money/msat.ts'
import { WalletError, type Wallet, type WalletInfo } from '../wallet/wallet.ts'

export const STEPS = ['open', 'reach', 'ask', 'balance'] as const
export type Step = (typeof STEPS)[number]

/** `step` is under way; those before it are done. */
export type Progress = Readonly<{ step: Step | 'done' }>
export type Connected = Readonly<{ wallet: Wallet; info: WalletInfo; balance?: Msat }>

/** A relay that is there answers within a fraction of it. */
const REACH_TIMEOUT_MS = 10_000

/**
 * Opens a wallet and asks what it is. Nothing stays open when it fails.
 * @throws WalletError in words, whatever step it was
 */
export async function connectWallet(
  open: () => Promise<Wallet>,
  onProgress: (progress: Progress) => void,
  signal?: AbortSignal,
): Promise<Connected> {
  onProgress({ step: 'open' })
  const wallet = await open()
  const abort = (): void => wallet.close()
  signal?.addEventListener('abort', abort)
  try {
    onProgress({ step: 'reach' })
    await reached(wallet)
    onProgress({ step: 'ask' })
    const info = await wallet.info()
    onProgress({ step: 'balance' })
    const balance = await wallet.balance().catch((error: unknown) => {
      if (error instanceof WalletError && error.code !== 'unreachable') return undefined
      throw error
    })
    onProgress({ step: 'done' })
    return { wallet, info, ...(balance !== undefined && { balance }) }
  } catch (error) {
    wallet.close()
    throw error
  } finally {
    signal?.removeEventListener('abort', abort)
  }
}

async function reached({ status }: Wallet): Promise<void> {
  let unwatch = (): void => undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  try {
    await new Promise<void>((resolve, reject) => {
      timer = setTimeout(() => {
        const { trouble } = status.get()
        const why = trouble === undefined ? '' : ` (${trouble.replace(/\.$/, '')})`
        const message = `The relay that the connection names does not answer${why}. Check that the wallet is online, then try again.`
        reject(new WalletError('unreachable', message))
      }, REACH_TIMEOUT_MS)
      unwatch = status.subscribe(({ connected }) => {
        if (connected) resolve()
      })
    })
  } finally {
    clearTimeout(timer)
    unwatch()
  }
}
