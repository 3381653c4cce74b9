/** What a buyer proves about a window: the seller's block hashes before paying, its plain pieces after. */
import { equal, type Bytes } from '../../core/bytes.ts'
import { encodeProof } from '../../core/exchange/fraud.ts'
import type { Receipt } from '../../core/exchange/receipt.ts'
import {
  BLOCK,
  blocksIn,
  entry,
  HASH,
  pieceBytes,
  pieceRoot,
  releasePath,
  windowPath,
} from '../../core/swarm/merkle.ts'
import type { Metainfo } from './api.ts'
import { leafHashes } from './window-cipher.ts'

type Layout = Pick<Metainfo, 'length' | 'pieceLength' | 'layer'>

/** The first wrong block: its piece, its place in the piece and in the window. */
export type Wrong = Readonly<{ piece: number; block: number; index: number }>

/** Leaves of one piece of the window, `at` blocks into it. */
const own = (leaves: Uint8Array, at: number, meta: Layout, piece: number): Uint8Array =>
  leaves.subarray(at * HASH, (at + blocksIn(pieceBytes(meta, piece))) * HASH)

const proves = (leaves: Uint8Array, meta: Layout, piece: number): boolean =>
  equal(pieceRoot(leaves, meta), entry(meta.layer, piece))

/** Whether the seller stands for the release's own blocks. */
export function leavesProve(leaves: Uint8Array, pieces: readonly number[], meta: Layout): boolean {
  let at = 0
  for (const piece of pieces) {
    const part = own(leaves, at, meta, piece)
    if (!proves(part, meta, piece)) return false
    at += part.length / HASH
  }
  return true
}

/**
 * Parts a window's plain bytes, with the hashes of their blocks, into the release's pieces and, if there is one, the first
 * wrong block. What was `claimed` has been proven before the payment: what equals it needs no second proof.
 */
export function sortPieces(
  { bytes: plain, leaves }: Readonly<{ bytes: Bytes; leaves: Bytes }>,
  claimed: Uint8Array | undefined,
  pieces: readonly number[],
  meta: Layout,
): { good: { piece: number; bytes: Uint8Array }[]; wrong: Wrong | undefined } {
  const good: { piece: number; bytes: Uint8Array }[] = []
  let wrong: Wrong | undefined
  let at = 0
  for (const piece of pieces) {
    const part = own(leaves, at, meta, piece)
    const offset = at * BLOCK
    const said = claimed && own(claimed, at, meta, piece)
    if ((said !== undefined && equal(part, said)) || proves(part, meta, piece))
      good.push({ piece, bytes: plain.subarray(offset, offset + pieceBytes(meta, piece)) })
    else if (said !== undefined) wrong ??= firstWrong(part, said, piece, at)
    at += part.length / HASH
  }
  return { good, wrong }
}

function firstWrong(found: Uint8Array, claimed: Uint8Array, piece: number, at: number): Wrong | undefined {
  for (let block = 0; block * HASH < found.length; block++) {
    if (!equal(entry(found, block), entry(claimed, block))) return { piece, block, index: at + block }
  }
  return undefined
}

/** The proof of the cheat, for anyone who knows the release. */
export async function fraudProof(
  receipt: Receipt,
  ciphertext: Bytes,
  claimed: Uint8Array,
  wrong: Wrong,
  meta: Layout,
): Promise<Bytes> {
  const leaves = own(claimed, wrong.index - wrong.block, meta, wrong.piece)
  return encodeProof({
    receipt,
    piece: wrong.piece,
    block: wrong.block,
    ciphertext: ciphertext.slice(wrong.index * BLOCK, (wrong.index + 1) * BLOCK),
    cipherPath: windowPath(await leafHashes(ciphertext), wrong.index),
    leaf: entry(leaves, wrong.block),
    releasePath: releasePath(leaves, meta.layer, meta, wrong.piece, wrong.block),
  })
}
