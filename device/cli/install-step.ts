/**
 * `satpatch install-step`: installs what the vendor signed, for a network process that it does not trust. Loaded before
 * everything else (`start.ts`): a device starts one for each installation.
 */
import { chmod, lchown, lstat, mkdir, rm, stat } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { dirname, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Command } from './command.ts'
import { serve, serveStream } from '../install/serve.ts'
import { InstallSettingsError, readSettings, type InstallSettings } from '../install/settings.ts'
import { openInstallStep, type InstallStep } from '../install/step.ts'
import { hireSchema, linesOf, readLine } from '../install/step-messages.ts'
import { BUILT_AT_S } from '../run/built-at.ts'
import { LockedError, lockDirectory } from '../run/lock.ts'
import { makeDirectory } from '../storage/durable.ts'
import { StorageError } from '../storage/errors.ts'

/** The one before may still end what it did. */
const LOCK_TRIES = 100
const LOCK_EVERY_MS = 100
/** A file that was handed over open. */
const HANDED_FD = 3
const MAX_CONNECTIONS = 4

/** For the list of verbs and its help; `runInstallStep` does it. */
export const installStepCommand: Omit<Command, 'run'> = {
  verb: 'install-step',
  summary: 'Installs for a "device run" of another user, which it does not trust.',
  about: `
Listens on the Unix socket that the settings name, verifies the vendor's metadata and the file again, with floors of its
own, and needs no network. "satpatch device init --systemd" makes the settings, and units for both. Stops on SIGTERM.`,
  flags: {
    settings: { value: 'FILE', help: 'the install step’s settings (install.toml)' },
    child: { help: 'how "device run" starts it for itself: settings and questions come on stdin' },
  },
}

/** Gives the exit code. */
export async function runInstallStep(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { child: { type: 'boolean' }, settings: { type: 'string' } },
  })
  if (values.child !== true && values.settings === undefined) {
    process.stderr.write('satpatch install-step needs --settings FILE.\n')
    return 2
  }
  const stopper = new AbortController()
  const stop = (): void => stopper.abort()
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  try {
    if (values.child === true) await beChild(stopper)
    else await beServer(await readSettings(resolve(values.settings ?? '')), stopper.signal)
    return 0
  } catch (error) {
    if (
      error instanceof InstallSettingsError ||
      error instanceof StorageError ||
      error instanceof LockedError
    ) {
      process.stderr.write(`satpatch install-step: ${error.message}\n`)
      return 1
    }
    throw error
  }
}

async function open(settings: InstallSettings, signal: AbortSignal, handed?: number): Promise<InstallStep> {
  await makeDirectory(settings.state_dir)
  for (let tries = 1; ; tries++) {
    try {
      await lockDirectory(settings.state_dir)
      break
    } catch (error) {
      if (!(error instanceof LockedError) || tries >= LOCK_TRIES || signal.aborted) throw error
      await delay(LOCK_EVERY_MS)
    }
  }
  return openInstallStep({
    settings,
    nowMs: Date.now,
    builtAtS: BUILT_AT_S,
    signal,
    ...(handed === undefined ? {} : { handed }),
  })
}

/** For one network process, over stdin and stdout; ends with it, whatever it does then. */
async function beChild(stopper: AbortController): Promise<void> {
  const { stdin, stdout } = process
  stdin.once('end', () => stopper.abort())
  stdin.once('close', () => stopper.abort())
  stdout.on('error', () => stopper.abort())
  const lines = linesOf(stdin)
  const first = await lines.next()
  const hire = first.done === true ? undefined : readLine(hireSchema, first.value)
  if (hire === undefined)
    throw new InstallSettingsError('The first line is not the settings of an install step.')
  const step = await open(hire.settings, stopper.signal, hire.handed ? HANDED_FD : undefined)
  await serve(step, lines, stdout)
}

async function beServer(settings: InstallSettings, signal: AbortSignal): Promise<void> {
  if (settings.socket === '') throw new InstallSettingsError('The settings name no socket to listen on.')
  const step = await open({ ...settings, apart: true }, signal)
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    void serveStream(step, socket, socket)
      .catch(() => undefined)
      .finally(() => socket.destroy())
  })
  server.maxConnections = MAX_CONNECTIONS
  await listen(server, settings)
  process.stdout.write(`${JSON.stringify({ listening: settings.socket })}\n`)
  if (!signal.aborted)
    await new Promise<void>((ended) => signal.addEventListener('abort', () => ended(), { once: true }))
  server.close()
  await rm(settings.socket, { force: true })
}

/**
 * In a directory that only the network process's user may enter: the one who owns the data directory. It is ours until
 * the socket is there, so that nothing in it is another's doing.
 */
async function listen(server: Server, { socket, data_dir }: InstallSettings): Promise<void> {
  const directory = dirname(socket)
  const own = process.geteuid?.() ?? 0
  await mkdir(directory, { recursive: true, mode: 0o700 })
  if ((await lstat(directory)).uid !== own) await lchown(directory, own, process.getegid?.() ?? 0)
  await chmod(directory, 0o700)
  await rm(socket, { force: true })
  await new Promise<void>((resolve_, reject) => {
    server.once('error', reject)
    server.listen(socket, resolve_)
  })
  const { uid, gid } = await stat(data_dir)
  if (uid === own) return
  await lchown(socket, uid, gid)
  await lchown(directory, uid, gid)
}
