/** The wallet connection of whoever owns the node: in a file that only the relay's user reads. */
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { toHex, type PartyKey } from '../../web/core/bytes.ts'
import { publicKey, type SecretKey } from '../../web/core/nostr/event.ts'
import { composeConnection, parseConnection } from '../../web/core/wallet/connection.ts'

export const OWNER_FILE = 'owner-wallet.txt'

/** The owner's account: one, whatever becomes of the file. */
export const OWNER = 'owner'

/** Reads the connection's key, or makes one, and gives its client key. The relay's address in it is written anew: it may have moved. */
export function openOwner(dataDir: string, wallet: PartyKey, relay: string): PartyKey {
  const file = join(dataDir, OWNER_FILE)
  const kept = existsSync(file) ? parseConnection(readFileSync(file, 'utf8').trim()) : undefined
  if (kept && !kept.ok) throw new Error(`${OWNER_FILE} is no wallet connection; move it away for a new one`)
  const secret: SecretKey = kept?.ok ? kept.connection.secret : new Uint8Array(randomBytes(32))
  const text = composeConnection({ wallet, relays: [relay], secret: toHex(secret) })
  writeFileSync(file, `${text}\n`, { mode: 0o600 })
  return publicKey(secret)
}
