/**
 * Artifacts in the origin private file system, written through synchronous handles, which only workers have.
 * One file of bytes and one of bits (`.have`) per artifact; a bit is written after its piece is flushed.
 */
export type OpfsRequest =
  | { op: 'open'; name: string; length: number; bits: number }
  | { op: 'read'; name: string; offset: number; length: number }
  | { op: 'write'; name: string; piece: number; offset: number; bytes: Uint8Array<ArrayBuffer> }
  | { op: 'import'; name: string; file: Blob; pieceLength: number }
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
type Open = { data: SyncHandle; bits: SyncHandle; have: Uint8Array<ArrayBuffer> }

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
      of.data.flush()
      mark(of, request.piece)
      return undefined
    case 'import': {
      for (let at = 0; at < request.file.size; at += COPY_BYTES) {
        const part = new Uint8Array(await request.file.slice(at, at + COPY_BYTES).arrayBuffer())
        writeAll(of.data, part, at)
      }
      of.data.flush()
      for (let piece = 0; piece * request.pieceLength < request.file.size; piece++) mark(of, piece)
      return of.have.slice()
    }
    case 'close':
      closeFile(request.name)
      return undefined
  }
}

async function openFile(request: Extract<OpfsRequest, { op: 'open' }>): Promise<Uint8Array<ArrayBuffer>> {
  closeFile(request.name)
  const data = await handle(request.name)
  const bits = await handle(`${request.name}.have`)
  const have = new Uint8Array(Math.ceil(request.bits / 8))
  if (bits.getSize() === have.length && data.getSize() === request.length) bits.read(have, { at: 0 })
  else {
    data.truncate(request.length)
    bits.truncate(have.length)
    bits.write(have, { at: 0 })
    bits.flush()
  }
  open.set(request.name, { data, bits, have })
  return have.slice()
}

function writeAll(into: SyncHandle, bytes: Uint8Array, at: number): void {
  if (into.write(bytes, { at }) !== bytes.length) throw new Error('the disk is full')
}

function mark(of: Open, piece: number): void {
  of.have[piece >> 3] = (of.have[piece >> 3] ?? 0) | (0x80 >> (piece & 7))
  of.bits.write(of.have, { at: 0 })
  of.bits.flush()
}

function closeFile(name: string): void {
  const of = open.get(name)
  if (of === undefined) return
  open.delete(name)
  of.data.close()
  of.bits.close()
}

// Opening waits; everything after it must wait with it, in order.
let queue: Promise<void> = Promise.resolve()

self.addEventListener('message', (event: MessageEvent<{ id: number; request: OpfsRequest }>) => {
  const { id, request } = event.data
  queue = queue.then(async () => {
    let reply: OpfsReply
    try {
      const bytes = await run(request)
      reply = bytes === undefined ? { ok: true } : { ok: true, bytes }
    } catch (error) {
      reply = { ok: false, message: error instanceof Error ? error.message : String(error) }
    }
    const transfer = reply.ok && reply.bytes !== undefined ? [reply.bytes.buffer] : []
    ;(self as unknown as Worker).postMessage({ id, reply }, transfer)
  })
})
