/** What this browser keeps of its volunteer: the key, which wallet, the relay's last words. */
import * as v from 'valibot'
import { fromUtf8, utf8, type Bytes } from '../../core/bytes.ts'
import type { Money } from '../../core/money/msat.ts'
import { publicKey, type SecretKey } from '../../core/nostr/event.ts'
import { relayConfigSchema, type RelayConfig } from '../../edge/relay-config.ts'
import type { Identity, Journal } from '../../edge/swarm/api.ts'
import type { Vault } from '../../edge/vault/vault.ts'
import { keepPlay, keptSeedPlay, seedPlay } from '../../edge/wallets/play.ts'
import { tellWalletsChanged } from '../wallet/changed.ts'

const KEY = 'seed/key'
const WALLET = 'seed/wallet'
const CONFIG = 'seed/config'
const SWITCH = 'satpatch.seed'

const walletSchema = v.variant('from', [
  /** Opened here, at this relay; its secret is in the vault. Earlier versions had it here. */
  v.object({ from: v.literal('play'), connection: v.optional(v.pipe(v.string(), v.maxLength(2000))) }),
  /** One of the wallets of this browser; its secret is in the vault. */
  v.object({ from: v.literal('own'), id: v.pipe(v.string(), v.maxLength(100)) }),
])
export type KeptWallet = Readonly<v.InferOutput<typeof walletSchema>>

/** The volunteer's Nostr key, made at the first visit. Only the tab that holds the lock calls it. */
export async function keptIdentity(journal: Journal): Promise<Identity> {
  const kept = await journal.get(KEY)
  if (kept?.length === 32) return { key: publicKey(kept), secret: kept }
  // A random value that is no key of the curve is as good as impossible; it is drawn again all the same.
  for (;;) {
    const secret: SecretKey = crypto.getRandomValues(new Uint8Array(32))
    try {
      const identity = { key: publicKey(secret), secret }
      await journal.put(KEY, secret)
      return identity
    } catch (error) {
      if (error instanceof DOMException) throw error // storage, not the key
    }
  }
}

export const keptWallet = (journal: Journal): Promise<KeptWallet | undefined> =>
  read(journal, WALLET, walletSchema)
export const keepWallet = (
  journal: Journal,
  wallet: { from: 'play' } | { from: 'own'; id: string },
): Promise<void> => journal.put(WALLET, utf8(JSON.stringify(wallet)))

/** The connection of the play-money account at the relay of this money. @throws VaultError */
export const keptPlayConnection = (
  journal: Journal,
  vault: Vault,
  money: Money,
): Promise<string | undefined> =>
  keptSeedPlay(vault, money, {
    async get() {
      const wallet = await keptWallet(journal)
      return wallet?.from === 'play' ? wallet.connection : undefined
    },
    delete: () => keepWallet(journal, { from: 'play' }),
  })
export async function keepPlayConnection(vault: Vault, money: Money, connection: string): Promise<void> {
  await keepPlay(vault, seedPlay(money), connection)
  tellWalletsChanged()
}

/** The relay's configuration of the last visit, for a page that is opened while it does not answer. */
export const keptConfig = (journal: Journal): Promise<RelayConfig | undefined> =>
  read(journal, CONFIG, relayConfigSchema)
export const keepConfig = (journal: Journal, config: RelayConfig): Promise<void> =>
  journal.put(CONFIG, utf8(JSON.stringify(config)))

/** The switch survives a reload. Not in the journal: it must be readable before the lock is held. */
export function wasOn(): boolean {
  try {
    return localStorage.getItem(SWITCH) === 'on'
  } catch {
    return false
  }
}
export function keepOn(on: boolean): void {
  try {
    localStorage.setItem(SWITCH, on ? 'on' : 'off')
  } catch {
    // it holds until the tab is closed
  }
}

async function read<Schema extends v.GenericSchema>(
  journal: Journal,
  key: string,
  schema: Schema,
): Promise<v.InferOutput<Schema> | undefined> {
  const bytes: Bytes | undefined = await journal.get(key)
  if (!bytes) return undefined
  try {
    const parsed = v.safeParse(schema, JSON.parse(fromUtf8(bytes)))
    return parsed.success ? parsed.output : undefined
  } catch {
    return undefined
  }
}
