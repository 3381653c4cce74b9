import { expect, onTestFinished, test, vi } from 'vitest'
import type { OpfsReply, OpfsRequest } from './opfs.worker.ts'

test('a file that there was no room for opens when there is', async () => {
  const open = new Set<string>()
  let full = true
  const fileOf = (name: string) => {
    let size = 0
    return {
      createSyncAccessHandle() {
        if (open.has(name)) return Promise.reject(new Error('another handle is open'))
        open.add(name)
        return Promise.resolve({
          getSize: () => size,
          truncate(to: number) {
            if (full) throw new Error('no room')
            size = to
          },
          read: () => 0,
          write: (bytes: Uint8Array) => bytes.length,
          flush: () => undefined,
          close: () => void open.delete(name),
        })
      },
    }
  }
  const files = new Map<string, ReturnType<typeof fileOf>>()
  const folder = {
    getDirectoryHandle: () => Promise.resolve(folder),
    getFileHandle(name: string) {
      const file = files.get(name) ?? fileOf(name)
      files.set(name, file)
      return Promise.resolve(file)
    },
  }
  let hear: (event: { data: { id: number; request: OpfsRequest } }) => void = () => undefined
  let answered: (reply: OpfsReply) => void = () => undefined
  vi.stubGlobal('navigator', { storage: { getDirectory: () => Promise.resolve(folder) } })
  vi.stubGlobal('self', {
    addEventListener: (_type: string, run: typeof hear) => (hear = run),
    postMessage: ({ reply }: { reply: OpfsReply }) => answered(reply),
  })
  onTestFinished(() => void vi.unstubAllGlobals())
  await import('./opfs.worker.ts')
  const ask = (request: OpfsRequest): Promise<OpfsReply> =>
    new Promise((done) => {
      answered = done
      hear({ data: { id: 1, request } })
    })

  const request = { op: 'open', name: 'artifact', length: 1_000_000, bits: 8 } as const
  expect(await ask(request)).toEqual({ ok: false, message: 'no room' })
  full = false
  expect(await ask(request)).toEqual({ ok: true, bytes: new Uint8Array(1) })
})
