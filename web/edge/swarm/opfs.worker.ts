/**
 * Artifacts in the origin private file system, written through synchronous handles, which only workers have.
 * One file of bytes and one of bits (`.have`) per artifact; a bit is written after its piece is flushed. Pieces that
 * are asked for while others wait share one flush.
 */
import { openCipher } from '../confidential/cipher.ts'
import { fileParts } from './file-parts.ts'

export type OpfsRequest =
  | { op: 'open'; name: string; length: number; bits: number }
  | { op: 'read'; name: string; offset: number; length: number }
  | { op: 'write'; name: string; piece: number; offset: number; bytes: Uint8Array<ArrayBuffer> }
  | { op: 'import'; name: string; file: Blob; pieceLength: number; key?: Uint8Array<ArrayBuffer> }
  | { op: 'close'; name: string }
  | { op: 'remove'; name: string }
export type OpfsReply = { ok: true; bytes?: Uint8Array<ArrayBuffer> } | { ok: false; message: string }

/** The synchronous handle, which TypeScript's DOM library does not describe. */
type SyncHandle = {
  read(into: Uint8Array, at: { at: number }): number
  write(from: Uint8Array, at: { at: number }): number
  truncate(size: number): void
  flush(): void
  getSize(): number
  close(): void
}
/** `unflushed`: pieces written since the last flush; `flushing` is shared by all who wait for the next one. */
type Open = {
  data: SyncHandle
  bits: SyncHandle
  have: Uint8Array<ArrayBuffer>
  unflushed: number[]
  flushing: Promise<void> | undefined
}

const open = new Map<string, Open>()
const COPY_BYTES = 4 * 1024 * 1024

async function folder(): Promise<FileSystemDirectoryHandle> {
  return (await navigator.storage.getDirectory()).getDirectoryHandle('artifacts', { create: true })
}

async function handle(name: string): Promise<SyncHandle> {
  const file = await (await folder()).getFileHandle(name, { create: true })
  return (file as unknown as { createSyncAccessHandle(): Promise<SyncHandle> }).createSyncAccessHandle()
}

async function run(request: OpfsRequest): Promise<Uint8Array<ArrayBuffer> | undefined> {
  if (request.op === 'open') return openFile(request)
  if (request.op === 'remove') {
    closeFile(request.name)
    const into = await folder()
    for (const name of [request.name, `${request.name}.have`])
      await into.removeEntry(name).catch(() => undefined)
    return undefined
  }
  const of = open.get(request.name)
  if (of === undefined) throw new Error('the file is not open')
  switch (request.op) {
    case 'read': {
      const bytes = new Uint8Array(request.length)
      const read = of.data.read(bytes, { at: request.offset })
      if (read !== request.length) throw new Error('the file is shorter than it should be')
      return bytes
    }
    case 'write':
      writeAll(of.data, request.bytes, request.offset)
      of.unflushed.push(request.piece)
      return flushSoon(of)
    case 'import': {
      const cipher = request.key && (await openCipher(request.key))
      for await (const { at, bytes } of fileParts(request.file, COPY_BYTES))
        writeAll(of.data, cipher ? await cipher(at, bytes) : bytes, at)
      for (let piece = 0; piece * request.pieceLength < request.file.size; piece++) of.unflushed.push(piece)
      flush(of)
      return of.have.slice()
    }
    case 'close':
      closeFile(request.name)
      return undefined
  }
}

async function openFile(request: Extract<OpfsRequest, { op: 'open' }>): Promise<Uint8Array<ArrayBuffer>> {
  closeFile(request.name)
  const have = new Uint8Array(Math.ceil(request.bits / 8))
  const handles: SyncHandle[] = []
  try {
    const data = await handle(request.name)
    handles.push(data)
    const bits = await handle(`${request.name}.have`)
    handles.push(bits)
    if (bits.getSize() === have.length && data.getSize() === request.length) bits.read(have, { at: 0 })
    else {
      data.truncate(request.length)
      bits.truncate(have.length)
      bits.write(have, { at: 0 })
      bits.flush()
    }
    open.set(request.name, { data, bits, have, unflushed: [], flushing: undefined })
    return have.slice()
  } catch (error) {
    // One that stays open keeps the next try out.
    for (const one of handles) one.close()
    throw error
  }
}

function writeAll(into: SyncHandle, bytes: Uint8Array, at: number): void {
  if (into.write(bytes, { at }) !== bytes.length) throw new Error('the disk is full')
}

/** After the messages that are here already: a window's pieces come together. */
function flushSoon(of: Open): Promise<undefined> {
  of.flushing ??= new Promise<void>((done) => setTimeout(done)).then(() => {
    of.flushing = undefined
    flush(of)
  })
  return of.flushing.then(() => undefined)
}

function flush(of: Open): void {
  if (of.unflushed.length === 0) return
  of.data.flush()
  for (const piece of of.unflushed) of.have[piece >> 3] = (of.have[piece >> 3] ?? 0) | (0x80 >> (piece & 7))
  of.unflushed.length = 0
  of.bits.write(of.have, { at: 0 })
  of.bits.flush()
}

function closeFile(name: string): void {
  const of = open.get(name)
  if (of === undefined) return
  open.delete(name)
  try {
    flush(of)
  } finally {
    of.data.close()
    of.bits.close()
  }
}

// Opening waits; everything after it must wait with it, in order. A piece's wait for its flush holds nobody up.
let queue: Promise<unknown> = Promise.resolve()

self.addEventListener('message', (event: MessageEvent<{ id: number; request: OpfsRequest }>) => {
  const { id, request } = event.data
  queue = queue.then(() => {
    const answered = answer(id, run(request))
    return request.op === 'write' ? undefined : answered
  })
})

async function answer(id: number, work: Promise<Uint8Array<ArrayBuffer> | undefined>): Promise<void> {
  let reply: OpfsReply
  try {
    const bytes = await work
    reply = bytes === undefined ? { ok: true } : { ok: true, bytes }
  } catch (error) {
    reply = { ok: false, message: messageOf(error) }
  }
  const transfer = reply.ok && reply.bytes !== undefined ? [reply.bytes.buffer] : []
  ;(self as unknown as Worker).postMessage({ id, reply }, transfer)
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name !== 'QuotaExceededError') return error.message
  return 'it gives this site no more room; free some on the disk or in the browser’s settings. What was stored stays'
}
