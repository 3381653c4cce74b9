/** One process a data directory. The kernel drops the lock with the process, however it ends: no stale lock files. */
import { createHash } from 'node:crypto'
import { connect, createServer } from 'node:net'
import { realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { errnoOf } from '../storage/errors.ts'

export class LockedError extends Error {
  override readonly name = 'LockedError'
}

/** Holds `directory` until the function that it gives is called. @throws LockedError */
export async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  const name = createHash('sha256')
    .update(await realpath(directory))
    .digest('hex')
    .slice(0, 24)
  // Paths of sockets are short (108 bytes), data directories need not be.
  const path = join(tmpdir(), `satpatch-${name}.sock`)
  for (let attempt = 0; attempt < 3; attempt++) {
    const server = createServer((socket) => socket.destroy())
    const failure = await new Promise<string | undefined>((done) => {
      server.once('error', (error) => done(errnoOf(error) ?? 'unknown'))
      server.listen(path, () => done(undefined))
    })
    if (failure === undefined) {
      server.unref()
      return () => new Promise((done) => server.close(() => done()))
    }
    if (failure !== 'EADDRINUSE' || (await answers(path))) {
      throw new LockedError(
        `Another process already runs with the data directory ${directory}. Stop it first.`,
      )
    }
    await rm(path, { force: true }) // left by one that was killed
  }
  throw new LockedError(`The data directory ${directory} could not be locked.`)
}

const answers = (path: string): Promise<boolean> =>
  new Promise((done) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      done(true)
    })
    socket.once('error', () => done(false))
  })
