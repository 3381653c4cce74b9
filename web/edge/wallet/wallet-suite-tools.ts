/** What the parts of the wallet suite share. */
import { fromHex, sha256Hex, type Sha256Hex } from '../../core/bytes.ts'
import { msat } from '../../core/money/msat.ts'
import type { ConnectionRequest, ConnectionState, Wallet, WalletEvent } from './wallet.ts'

export interface WalletHarness {
  /** A wallet of an account of its own. */
  open(balanceMsat: number): Promise<Wallet>
  /** Makes a client key, has `parent` cut a connection for it and opens that. */
  cut(parent: Wallet, request: Omit<ConnectionRequest, 'client'>): Promise<Wallet>
  /** Moves the clock of wallets and service. */
  advance(ms: number): void
  stop(): Promise<void>
}

/** A payer with 10,000 msat and a payee with none. */
export type Pair = WalletHarness & { payer: Wallet; payee: Wallet }

export const preimageOf = (n: number): string => n.toString(16).padStart(64, '0')
export const hashOf = (preimage: string): Sha256Hex => sha256Hex(fromHex(preimage))
export const invoice = (amount: number) => ({
  amount: msat(amount),
  description: 'a window',
  expirySeconds: 600,
})
export const everything = new Set(['pay', 'receive'] as const)

/** The next event that `wanted` takes. */
export function next(wallet: Wallet, wanted: WalletEvent['tag']): Promise<WalletEvent> {
  return new Promise((resolve) => {
    const stop = wallet.onEvent((event) => {
      if (event.tag !== wanted) return
      stop()
      resolve(event)
    })
  })
}

/** The next news of a connection that is as `wanted`. */
export function changed(
  wallet: Wallet,
  wanted: (connection: ConnectionState) => boolean,
): Promise<ConnectionState> {
  return new Promise((resolve) => {
    const stop = wallet.onConnection((connection) => {
      if (!wanted(connection)) return
      stop()
      resolve(connection)
    })
  })
}
