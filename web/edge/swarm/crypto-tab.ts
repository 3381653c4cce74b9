/** Hashes and ciphers of whole windows in a browser (`#crypto`): in a worker; in a worker itself, on the spot. */
import type { Bytes, Sha256Hex } from '../../core/bytes.ts'
import {
  cryptInPlace,
  digestOf,
  leavesOf,
  type ArrivingHashes,
  type CryptedWindow,
  type RunningHash,
  type SealedWindow,
} from './crypto-web.ts'
import type { CryptoReply, CryptoRequest } from './crypto.worker.ts'

export class CryptoWorkerError extends Error {
  override readonly name = 'CryptoWorkerError'
}

type Pending = { done: (window: SealedWindow) => void; fail: (error: Error) => void }

/** Below this a message to the worker costs more than it spares. */
const WORTH_BYTES = 64 * 1024

const onPage = typeof document !== 'undefined' && typeof Worker !== 'undefined'
const pending = new Map<number, Pending>()
let worker: Worker | undefined
let serial = 0

/** `request.bytes` are given away. */
function ask(request: CryptoRequest): Promise<SealedWindow> {
  worker ??= startWorker()
  const to = worker
  const id = ++serial
  return new Promise((done, fail) => {
    pending.set(id, { done, fail })
    to.postMessage({ id, request }, [request.bytes.buffer])
  })
}

function startWorker(): Worker {
  const started = new Worker(new URL('./crypto.worker.ts', import.meta.url), { type: 'module' })
  started.addEventListener('message', (event: MessageEvent<{ id: number; reply: CryptoReply }>) => {
    const { id, reply } = event.data
    const waiting = pending.get(id)
    pending.delete(id)
    if (reply.ok) waiting?.done(reply)
    else waiting?.fail(new CryptoWorkerError(`This browser could not encrypt: ${reply.message}.`))
  })
  started.addEventListener('error', () => {
    for (const waiting of pending.values())
      waiting.fail(new CryptoWorkerError('This browser’s cipher worker stopped; reload the page.'))
    pending.clear()
    worker = undefined
  })
  return started
}

export const hashOf = digestOf

/** WebCrypto takes no parts; in WASM it is five times as fast as in JavaScript. */
export async function runningSha256(): Promise<RunningHash> {
  const { createSHA256 } = await import('hash-wasm')
  const hasher = (await createSHA256()).init()
  return { update: (bytes) => void hasher.update(bytes), digest: () => hasher.digest('binary') }
}

export async function leafHashes(bytes: Uint8Array): Promise<Bytes> {
  if (!onPage || bytes.length < WORTH_BYTES) return leavesOf(bytes)
  return (await ask({ op: 'leaves', bytes: bytes.slice() as Bytes })).leaves
}

/** A message to the worker for each would cost more. */
export const arrivingHashes = (_length: number): ArrivingHashes => ({
  arrived: () => undefined,
  leaves: leafHashes,
})

/** @param bytes are given away: the result lies in their memory */
export async function cryptHashed(
  secret: Uint8Array,
  quoteId: Sha256Hex,
  bytes: Bytes,
): Promise<CryptedWindow> {
  if (onPage) return ask({ op: 'crypt', bytes, secret, quoteId })
  await cryptInPlace(secret, quoteId, bytes)
  return { bytes, leaves: await leavesOf(bytes) }
}

/** Like `cryptHashed`, and hashes what goes in. */
export async function sealHashed(
  secret: Uint8Array,
  quoteId: Sha256Hex,
  bytes: Bytes,
): Promise<SealedWindow> {
  if (onPage) return ask({ op: 'seal', bytes, secret, quoteId })
  const plain = await leavesOf(bytes)
  return { plain, ...(await cryptHashed(secret, quoteId, bytes)) }
}
