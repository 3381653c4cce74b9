/** The relay's own secrets: the wallet service's Nostr key and the TUF keys for snapshot and timestamp. */
import { randomBytes } from 'node:crypto'
import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { ed25519 } from '@noble/curves/ed25519.js'
import * as v from 'valibot'
import { fromHex, toHex, type Bytes, type PartyKey } from '../web/core/bytes.ts'
import { publicKey, type SecretKey } from '../web/core/nostr/event.ts'
import { keyId, type Signature } from '../web/core/release/repository.ts'
import type { TufPublicKey } from '../web/edge/relay-config.ts'
import { StartError } from './errors.ts'
import { readIfThere, writeAtomically } from './files.ts'

const hex32 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))
const fileSchema = v.object({ v: v.literal(1), nostr: hex32, tufSnapshot: hex32, tufTimestamp: hex32 })

/** A TUF key that signs; the secret stays inside. */
export type TufSigner = Readonly<{ public: TufPublicKey; sign: (message: Uint8Array) => Signature }>
export type RelayKeys = Readonly<{
  relayKey: PartyKey
  relaySecret: SecretKey
  snapshot: TufSigner
  timestamp: TufSigner
}>

/** Reads the keys, or makes them at the first start. @throws StartError when the file is damaged. */
export async function loadKeys(dataDir: string): Promise<RelayKeys> {
  const path = join(dataDir, 'keys.json')
  let text = (await readIfThere(path))?.toString('utf8')
  if (text === undefined) {
    const secret = () => toHex(randomBytes(32))
    text = JSON.stringify({ v: 1, nostr: secret(), tufSnapshot: secret(), tufTimestamp: secret() })
    await writeAtomically(path, text, { mode: 0o600 })
  }
  await chmod(path, 0o600)
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), fileSchema), text)
  if (!parsed.success) {
    const words = `The relay's key file ${path} is damaged. Restore it from a backup; without it vendors must rotate their root.`
    throw new StartError('data-damaged', words)
  }
  const relaySecret = fromHex(parsed.output.nostr)
  return {
    relayKey: publicKey(relaySecret),
    relaySecret,
    snapshot: tufSigner(fromHex(parsed.output.tufSnapshot)),
    timestamp: tufSigner(fromHex(parsed.output.tufTimestamp)),
  }
}

export function tufSigner(secret: Bytes): TufSigner {
  const key: TufPublicKey = {
    keytype: 'ed25519',
    scheme: 'ed25519',
    keyval: { public: toHex(ed25519.getPublicKey(secret)) },
  }
  const keyid = keyId(key)
  return { public: key, sign: (message) => ({ keyid, sig: toHex(ed25519.sign(message, secret)) }) }
}
