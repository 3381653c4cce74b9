/** Hashes an artifact off the page's thread, encrypted on the way if the vendor wants that. The file is read once, where it lies. */
import {
  hashConfidential,
  newArtifactKey,
  type ConfidentialArtifact,
} from '../../edge/confidential/artifact.ts'
import { hashArtifact } from '../../edge/swarm/hash-artifact.ts'
import type { Metainfo } from '../../edge/swarm/api.ts'
import type { Sha256Hex } from '../../core/bytes.ts'

export type HashJob = Readonly<{ file: File; trackers: readonly string[]; confidential: boolean }>
export type HashNews =
  | { tag: 'progress'; done: number; of: number }
  | {
      tag: 'hashed'
      meta: Metainfo
      sha256: Sha256Hex
      magnet: string
      confidential?: ConfidentialArtifact
    }
  | { tag: 'failed'; name: string; message: string }

const say = (news: HashNews): void => postMessage(news)

/** At most one progress message in this time. */
const PROGRESS_EVERY_MS = 50

addEventListener('message', (event: MessageEvent<HashJob>) => void work(event.data))

async function work({ file, trackers, confidential }: HashJob): Promise<void> {
  let last = 0
  try {
    const source = {
      length: file.size,
      read: async (offset: number, length: number) =>
        new Uint8Array(await file.slice(offset, offset + length).arrayBuffer()),
    }
    const onProgress = (done: number, of: number): void => {
      const now = performance.now()
      if (now - last < PROGRESS_EVERY_MS && done > 1 && done < of) return
      last = now
      say({ tag: 'progress', done, of })
    }
    const hashed = confidential
      ? await hashConfidential(source, file.name, trackers, newArtifactKey(), onProgress)
      : await hashArtifact(source, file.name, trackers, onProgress)
    say({ tag: 'hashed', ...hashed })
  } catch (error) {
    const { name, message } = error instanceof Error ? error : { name: 'Error', message: '' }
    say({ tag: 'failed', name, message })
  }
}
