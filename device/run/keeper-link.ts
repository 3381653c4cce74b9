/**
 * Joins other commands to the process that runs a directory's allowances, as tabs are joined to the one that runs a
 * browser's: JSON lines over a Unix socket in the directory, which only its owner may open.
 */
import { chmod, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { KeeperChannel } from '../../web/edge/allowance/api.ts'
import { errnoOf, storageError } from '../storage/errors.ts'

const SOCKET = 'keeper.sock'
/** A view of 100 allowances with their latest payments is about 2 MB. */
const MAX_LINE_CHARS = 16 * 1024 * 1024

/** For the process that holds the directory's lock. @throws StorageError */
export async function serveLink(directory: string): Promise<KeeperChannel> {
  const file = join(directory, SOCKET)
  const sockets = new Set<Socket>()
  const listeners = new Set<(message: unknown) => void>()
  const server = createServer((socket) => {
    sockets.add(socket)
    readLines(socket, (message) => listeners.forEach((run) => run(message)))
    socket.on('close', () => sockets.delete(socket))
  })
  try {
    // Of a process that was killed; whoever holds the lock is the only one that listens here.
    await rm(file, { force: true })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(file, resolve)
    })
    await chmod(file, 0o600)
  } catch (error) {
    throw storageError(error, file)
  }
  return {
    post: (message) => sockets.forEach((socket) => socket.write(lineOf(message))),
    onMessage: (run) => subscribe(listeners, run),
    close() {
      server.close()
      for (const socket of sockets) socket.end()
    },
  }
}

/** `undefined` when nobody listens. `onLost`: the other process has gone. */
export async function joinLink(directory: string, onLost: () => void): Promise<KeeperChannel | undefined> {
  const file = join(directory, SOCKET)
  const socket = connect(file)
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
  } catch (error) {
    if (['ENOENT', 'ECONNREFUSED'].includes(errnoOf(error) ?? '')) return undefined
    throw storageError(error, file)
  }
  const listeners = new Set<(message: unknown) => void>()
  readLines(socket, (message) => listeners.forEach((run) => run(message)))
  socket.on('close', onLost)
  return {
    post: (message) => void socket.write(lineOf(message)),
    onMessage: (run) => subscribe(listeners, run),
    close: () => socket.end(),
  }
}

const lineOf = (message: unknown): string => `${JSON.stringify(message)}\n`

function subscribe<T>(listeners: Set<T>, run: T): () => void {
  listeners.add(run)
  return () => listeners.delete(run)
}

function readLines(socket: Socket, run: (message: unknown) => void): void {
  let rest = ''
  socket.setEncoding('utf8')
  // A command that ends is no trouble of ours.
  socket.on('error', () => socket.destroy())
  socket.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > MAX_LINE_CHARS) return socket.destroy()
    for (const line of lines) run(parse(line))
    return undefined
  })
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
