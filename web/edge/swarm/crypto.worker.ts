/** Hashes and ciphers of whole windows for a page, so that its main thread sees one message a window and not one a block. */
import type { Bytes, Sha256Hex } from '../../core/bytes.ts'
import { cryptInPlace, leavesOf } from './crypto-web.ts'

/** The bytes come and go by transfer. */
export type CryptoRequest =
  | { op: 'leaves'; bytes: Bytes }
  | { op: 'crypt' | 'seal'; bytes: Bytes; secret: Uint8Array; quoteId: Sha256Hex }
/** `plain`: of what was to be sealed. */
export type CryptoReply =
  { ok: true; plain: Bytes; leaves: Bytes; bytes: Bytes } | { ok: false; message: string }

async function run(request: CryptoRequest): Promise<CryptoReply> {
  try {
    const { bytes } = request
    const plain = request.op === 'seal' ? await leavesOf(bytes) : new Uint8Array()
    if (request.op !== 'leaves') await cryptInPlace(request.secret, request.quoteId, bytes)
    return { ok: true, plain, leaves: await leavesOf(bytes), bytes }
  } catch (error) {
    return { ok: false, message: error instanceof Error ? error.message : String(error) }
  }
}

self.addEventListener('message', (event: MessageEvent<{ id: number; request: CryptoRequest }>) => {
  const { id, request } = event.data
  void run(request).then((reply) =>
    (self as unknown as Worker).postMessage({ id, reply }, reply.ok ? [reply.bytes.buffer] : []),
  )
})
