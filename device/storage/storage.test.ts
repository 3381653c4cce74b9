import { createHash } from 'node:crypto'
import {
  mkdtemp,
  open,
  readFile,
  readdir,
  rm,
  stat,
  truncate,
  writeFile,
  type FileHandle,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { writeAll, writeDurably } from './durable.ts'
import { StorageError } from './errors.ts'
import { openJournal } from './journal.ts'
import { leavesPerPiece, pieceRoot } from './piece-root.ts'
import { countPieces, hasPiece, openPieceStore } from './piece-store.ts'
import { createSyncGroup } from './sync-group.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'satpatch-storage-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const sha = (...parts: Uint8Array[]): Buffer => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}
const bytesOf = (length: number, seed: number): Uint8Array => {
  const out = new Uint8Array(length)
  for (let i = 0, x = seed * 7919 + 1; i < length; i++) out[i] = (x = (x * 48271) % 2147483647) & 255
  return out
}
function layout(artifact: Uint8Array, pieceLength: number) {
  const pieces = Math.ceil(artifact.length / pieceLength)
  const meta = { length: artifact.length, pieceLength, pieces, layer: new Uint8Array(32 * pieces) }
  for (let i = 0; i < pieces; i++) {
    const piece = artifact.subarray(i * pieceLength, (i + 1) * pieceLength)
    meta.layer.set(pieceRoot(piece, leavesPerPiece(meta)), i * 32)
  }
  return meta
}

describe('piece root', () => {
  test('is BEP 52: leaves hashed in pairs, missing leaves all zero', () => {
    const bytes = bytesOf(16_384 * 2 + 5, 1)
    const [a, b, c] = [0, 1, 2].map((i) => sha(bytes.subarray(i * 16_384, (i + 1) * 16_384)))
    const zero = Buffer.alloc(32)
    const left = sha(a!, b!)
    const right = sha(c!, zero)
    expect(pieceRoot(bytes, 4)).toEqual(sha(left, right))
    const empty = sha(sha(zero, zero), sha(zero, zero))
    expect(pieceRoot(bytes, 8)).toEqual(sha(sha(left, right), empty))
    expect(pieceRoot(bytes.subarray(0, 1), 1)).toEqual(sha(bytes.subarray(0, 1)))
  })

  test('a single piece is padded to the next power of two, others to the piece length', () => {
    expect(leavesPerPiece({ length: 1, pieceLength: 65_536, pieces: 1 })).toBe(1)
    expect(leavesPerPiece({ length: 16_385, pieceLength: 65_536, pieces: 1 })).toBe(2)
    expect(leavesPerPiece({ length: 49_152, pieceLength: 65_536, pieces: 1 })).toBe(4)
    expect(leavesPerPiece({ length: 65_537, pieceLength: 65_536, pieces: 2 })).toBe(4)
  })
})

describe('piece store', () => {
  const PIECE = 32_768

  test('what was written is there after opening again, whatever the order and the cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: PIECE * 5 + 3 }),
        fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 8 }),
        async (length, order) => {
          const artifact = bytesOf(length, length)
          const meta = layout(artifact, PIECE)
          const path = join(dir, `${length}-${order.join('')}`, 'artifact')
          const piece = (i: number) => artifact.subarray(i * PIECE, (i + 1) * PIECE)
          const wanted = new Set(order.filter((i) => i < meta.pieces))
          const first = await openPieceStore(path, meta)
          await Promise.all([...wanted].map((i) => first.write(i, piece(i))))
          // No close: a power cut gives none. The file descriptor is closed after the check.
          const second = await openPieceStore(path, meta)
          for (let i = 0; i < meta.pieces; i++) {
            expect(hasPiece(second.have, i)).toBe(wanted.has(i))
            if (wanted.has(i)) {
              expect(Buffer.from(await second.read(i * PIECE, piece(i).length)).equals(piece(i))).toBe(true)
            }
          }
          expect(countPieces(second.have)).toBe(wanted.size)
          expect((await stat(path)).size).toBe(length)
          await first.close()
          await second.close()
        },
      ),
      { numRuns: 40 },
    )
  })

  test('a piece that rotted on the card counts as missing', async () => {
    const artifact = bytesOf(PIECE * 3, 3)
    const meta = layout(artifact, PIECE)
    const path = join(dir, 'artifact')
    const store = await openPieceStore(path, meta)
    for (let i = 0; i < 3; i++) await store.write(i, artifact.subarray(i * PIECE, (i + 1) * PIECE))
    await store.close()
    const handle = await open(path, 'r+')
    await handle.write(Uint8Array.of((artifact[PIECE + 9] ?? 0) ^ 1), 0, 1, PIECE + 9)
    await handle.close()
    const again = await openPieceStore(path, meta)
    expect([0, 1, 2].map((i) => hasPiece(again.have, i))).toEqual([true, false, true])
    await again.close()
    await truncate(path, PIECE + 10)
    const shorter = await openPieceStore(path, meta)
    expect([0, 1, 2].map((i) => hasPiece(shorter.have, i))).toEqual([true, false, false])
    await shorter.close()
  })

  test('counts what it writes, refuses what is no piece, reads nothing beyond the end', async () => {
    const artifact = bytesOf(PIECE + 7, 4)
    const store = await openPieceStore(join(dir, 'a'), layout(artifact, PIECE), { bytesWrittenBefore: 100 })
    await store.write(1, artifact.subarray(PIECE))
    expect(store.bytesWritten).toBe(107)
    await expect(store.write(1, artifact)).rejects.toThrow(RangeError)
    await expect(store.write(2, new Uint8Array(7))).rejects.toThrow(RangeError)
    await expect(store.read(PIECE, 8)).rejects.toThrow(RangeError)
    await store.destroy()
    await expect(store.write(1, artifact.subarray(PIECE))).rejects.toThrow(StorageError)
    expect(await readdir(dir)).toEqual([])
  })

  test('a bit is never set before the bytes are synced', async () => {
    const artifact = bytesOf(PIECE, 5)
    const store = await openPieceStore(join(dir, 'a'), layout(artifact, PIECE))
    const writing = store.write(0, artifact)
    expect(hasPiece(store.have, 0)).toBe(false)
    await writing
    expect(hasPiece(store.have, 0)).toBe(true)
    await store.close()
  })

  test('a directory that cannot be made is told in words', async () => {
    await writeFile(join(dir, 'file'), '')
    const failure = openPieceStore(join(dir, 'file', 'artifact'), layout(bytesOf(1, 1), PIECE))
    await expect(failure).rejects.toThrow(/A file stands where/)
  })
})

describe('journal', () => {
  test('keeps the last value of each key, over a reopening', async () => {
    const key = fc.constantFrom('a', 'a/b', 'a/b-c', 'b', 'purchase/00')
    const action = fc.tuple(key, fc.option(fc.uint8Array({ maxLength: 300 })))
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 20 }), async (actions) => {
        const at = await mkdtemp(join(dir, 'j'))
        const journal = await openJournal(at)
        const model = new Map<string, Uint8Array>()
        const done: Promise<void>[] = []
        for (const [name, value] of actions) {
          done.push(value === null ? journal.delete(name) : journal.put(name, value)) // all at once, per key in order
          if (value === null) model.delete(name)
          else model.set(name, value)
        }
        await Promise.all(done)
        const again = await openJournal(at)
        expect(await again.keys('')).toEqual([...model.keys()].sort())
        expect(await again.keys('a/')).toEqual([...model.keys()].filter((k) => k.startsWith('a/')).sort())
        for (const [name, value] of model) expect(await again.get(name)).toEqual(new Uint8Array(value))
        expect(await again.get('nowhere')).toBeUndefined()
      }),
      { numRuns: 40 },
    )
  })

  test('a write that was cut leaves the old value and no rubbish', async () => {
    const journal = await openJournal(dir)
    await journal.put('purchase/1', Uint8Array.of(1))
    await writeFile(join(dir, '9.tmp'), 'half a rec')
    const again = await openJournal(dir)
    expect(await again.get('purchase/1')).toEqual(Uint8Array.of(1))
    expect(await readdir(dir)).toEqual(['purchase_1.rec'])
    expect((await stat(join(dir, 'purchase_1.rec'))).mode & 0o777).toBe(0o600)
    expect(journal.bytesWritten).toBe(1)
    void journal.put('purchase/2', Uint8Array.of(2))
    await journal.idle()
    expect(journal.bytesWritten).toBe(2)
  })

  test('refuses keys that would leave the directory or clash', async () => {
    const journal = await openJournal(dir)
    for (const key of ['../x', 'A', 'a_b', '', 'x'.repeat(201)]) {
      await expect(journal.put(key, Uint8Array.of(1))).rejects.toThrow(RangeError)
    }
    await journal.put('x'.repeat(200), Uint8Array.of(1))
    expect(await journal.keys('x')).toHaveLength(1)
  })

  test('a directory that is gone fails the write, and the next one after it works', async () => {
    const journal = await openJournal(join(dir, 'sub'))
    await rm(join(dir, 'sub'), { recursive: true })
    await expect(journal.put('a', Uint8Array.of(1))).rejects.toMatchObject({ code: 'missing' })
    const again = await openJournal(join(dir, 'sub'))
    await journal.put('a', Uint8Array.of(2))
    expect(await again.get('a')).toEqual(Uint8Array.of(2))
  })
})

describe('durable files', () => {
  test('a written file replaces the old one whole, readable by its owner only', async () => {
    const path = join(dir, 'state.json')
    await writeDurably(path, 'one')
    await writeDurably(path, 'two')
    expect(await readFile(path, 'utf8')).toBe('two')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(await readdir(dir)).toEqual(['state.json'])
  })
})

describe('sync group', () => {
  test('every caller waits for a run that began after it called, and callers share runs', async () => {
    const finish: (() => void)[] = []
    const group = createSyncGroup(() => new Promise((resolve) => finish.push(resolve)))
    const seen: string[] = []
    const first = group.sync().then(() => seen.push('first'))
    const second = group.sync().then(() => seen.push('second'))
    const third = group.sync().then(() => seen.push('third'))
    expect(finish).toHaveLength(1)
    finish[0]!()
    await first
    expect(seen).toEqual(['first'])
    await Promise.resolve()
    expect(finish).toHaveLength(2)
    finish[1]!()
    await Promise.all([second, third])
    expect(finish).toHaveLength(2)
  })

  test('a run that failed fails its own callers only', async () => {
    let runs = 0
    const group = createSyncGroup(async () => {
      if (++runs === 1) throw new Error('card pulled')
    })
    const first = group.sync()
    const second = group.sync()
    await expect(first).rejects.toThrow('card pulled')
    await second
    expect(runs).toBe(2)
  })
})

test('parts are written one behind the other, however little the system takes at a time', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 9 }), { maxLength: 6 }),
      fc.integer({ min: 1, max: 5 }),
      fc.nat({ max: 20 }),
      async (parts, most, position) => {
        const written = new Map<number, number>()
        const handle = {
          writev: (rest: readonly Uint8Array[], at: number) => {
            const bytes = Buffer.concat(rest).subarray(0, most)
            for (const [i, byte] of bytes.entries()) written.set(at + i, byte)
            return Promise.resolve({ bytesWritten: bytes.length })
          },
        } as unknown as FileHandle
        await writeAll(handle, parts, position)
        const whole = Buffer.concat(parts)
        expect([...written.keys()]).toEqual([...whole.keys()].map((i) => position + i))
        expect([...written.values()]).toEqual([...whole])
      },
    ),
  )
})

test('what a killed process with the same number has left is in nobody’s way', async () => {
  const first = await import('./durable.ts')
  const before = Number(/-(\d+)\.tmp$/.exec(first.temporaryName('x'))?.[1])
  vi.resetModules()
  const second = await import('./durable.ts')
  const names = Array.from({ length: before }, () => second.temporaryName('x'))
  expect(names).not.toContain(first.temporaryName('x').replace(/\d+\.tmp$/, `${before}.tmp`))
})
