/** Wraps the key of a confidential release for some devices, off the page's thread: some milliseconds each. */
import type { KeyEntry } from '../../core/release/confidential.ts'
import { wrapEntries, type WrapJob } from '../../edge/confidential/keys.ts'

export type WrapNews = { tag: 'wrapped'; entries: KeyEntry[] } | { tag: 'failed'; message: string }

addEventListener('message', (event: MessageEvent<WrapJob>) => {
  try {
    postMessage({ tag: 'wrapped', entries: wrapEntries(event.data) } satisfies WrapNews)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    postMessage({ tag: 'failed', message } satisfies WrapNews)
  }
})
