/** A copy of a mirror in a directory, read as if it were a server: a USB stick. Nothing in it is trusted. */
import { constants } from 'node:fs'
import { open, realpath, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'

/** The address under which the directory is a mirror; no such host exists (RFC 6761). */
export const DIRECTORY_URL = 'http://directory.invalid'

/** Names that `satpatch export` writes. Anything else is not there, whatever the file system would make of it. */
const SEGMENT = /^[A-Za-z0-9_~%-][A-Za-z0-9._~%-]*$/

/** Answers for `DIRECTORY_URL` with files of `directory`, by range too; there is no other host. */
export function directoryFetch(directory: string): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init)
    const { origin, pathname } = new URL(request.url)
    const segments = pathname.split('/').filter((part) => part !== '')
    if (origin !== DIRECTORY_URL) throw new TypeError('there is no network here')
    if (request.method !== 'GET' || !segments.every((part) => SEGMENT.test(part))) return notFound()
    const handle = await openInside(directory, segments)
    if (handle === undefined) return notFound()
    const info = await handle.stat()
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.get('range') ?? '')
    const start = Number(range?.[1] ?? 0)
    const end = Math.min(Number(range?.[2] ?? info.size - 1), info.size - 1)
    if (!info.isFile() || (range !== null && start > end)) {
      await handle.close()
      return info.isFile() ? new Response(null, { status: 416 }) : notFound()
    }
    const headers: Record<string, string> = { 'content-length': String(Math.max(0, end - start + 1)) }
    if (range !== null) headers['content-range'] = `bytes ${start}-${end}/${info.size}`
    if (info.size === 0) {
      await handle.close()
      return new Response(new Uint8Array(0), { headers })
    }
    // Closes the handle when it ends or is cancelled.
    const stream = Readable.toWeb(handle.createReadStream({ start, end })) as ReadableStream<Uint8Array>
    return new Response(stream, { status: range === null ? 200 : 206, headers })
  }
}

/** A link on a stick, of a file or of a folder, could lead to any file of this machine. */
async function openInside(directory: string, segments: readonly string[]): Promise<FileHandle | undefined> {
  try {
    const file = join(await realpath(directory), ...segments)
    if ((await realpath(file)) !== file) return undefined
    // Nor a pipe, which would be waited for until somebody writes to it.
    return await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch {
    return undefined
  }
}

const notFound = (): Response => new Response(null, { status: 404 })
