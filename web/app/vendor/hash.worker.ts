/** Hashes an artifact off the page's thread. The file is read once, where it lies. */
import { hashArtifact } from '../../edge/swarm/hash-artifact.ts'
import type { Metainfo } from '../../edge/swarm/api.ts'
import type { Sha256Hex } from '../../core/bytes.ts'

export type HashJob = Readonly<{ file: File; trackers: readonly string[] }>
export type HashNews =
  | { tag: 'progress'; done: number; of: number }
  | { tag: 'hashed'; meta: Metainfo; sha256: Sha256Hex; magnet: string }
  | { tag: 'failed'; name: string; message: string }

const say = (news: HashNews): void => postMessage(news)

/** At most one progress message in this time. */
const PROGRESS_EVERY_MS = 50

addEventListener('message', (event: MessageEvent<HashJob>) => void work(event.data))

async function work({ file, trackers }: HashJob): Promise<void> {
  const read = async (offset: number, length: number) =>
    new Uint8Array(await file.slice(offset, offset + length).arrayBuffer())
  let last = 0
  try {
    const hashed = await hashArtifact({ length: file.size, read }, file.name, trackers, (done, of) => {
      const now = performance.now()
      if (now - last < PROGRESS_EVERY_MS && done > 1 && done < of) return
      last = now
      say({ tag: 'progress', done, of })
    })
    say({ tag: 'hashed', ...hashed })
  } catch (error) {
    const { name, message } = error instanceof Error ? error : { name: 'Error', message: '' }
    say({ tag: 'failed', name, message })
  }
}
