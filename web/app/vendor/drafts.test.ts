/** Drafts without a browser: hashing and the copy are stood in for. */
import { beforeEach, expect, test, vi } from 'vitest'
import { drafts } from './drafts.svelte.ts'

const { removed } = vi.hoisted(() => ({ removed: [] as string[] }))
vi.mock('../../edge/swarm/opfs-store.ts', () => ({
  importToOpfs: async () => ({ close: async () => undefined }),
  removeFromOpfs: async (infoHash: string) => void removed.push(infoHash),
}))

/** The same bytes have the same info-hash. */
class HashingWorker extends EventTarget {
  postMessage({ file }: { file: File }): void {
    const data = { tag: 'hashed', meta: { infoHash: file.name, pieces: 1 }, sha256: '', magnet: '' }
    queueMicrotask(() => this.dispatchEvent(new MessageEvent('message', { data })))
  }
  terminate(): void {}
}

beforeEach(() => {
  vi.stubGlobal('Worker', HashingWorker)
  return () => vi.unstubAllGlobals()
})

test('one of two drafts of the same file is taken back: the copy stays until the other is too', async () => {
  const file = new File(['bytes'], 'a.bin')
  drafts.add([file, file], [], [])
  await vi.waitFor(() => expect(drafts.list.map(({ copy }) => copy.tag)).toEqual(['copied', 'copied']))
  const [first, second] = drafts.list
  drafts.remove(first!, [])
  await first!.copied
  expect(removed).toEqual([])
  drafts.remove(second!, [])
  await vi.waitFor(() => expect(removed).toEqual(['a.bin']))
})
