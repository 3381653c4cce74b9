/** Ways to the install step: a child of the network process, or a process of another user behind a Unix socket. */
import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { connect } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { NODE_FLAGS } from '../node-settings.mjs'
import { NotInstalledYet, type StepLink } from './step-link.ts'
import type { InstallSettings } from './settings.ts'
import { answerSchema, linesOf, readLine, type StepResult } from './step-messages.ts'

/** A child that is asked nothing for so long ends: a device at rest keeps one process. */
const IDLE_MS = 5000
const MAX_ANSWER_CHARS = 64 * 1024

/** What the owner's commands may see of our environment, and the step itself. */
const PASSED_ON =
  /^(PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TZ|TMPDIR|XDG_RUNTIME_DIR|DBUS_\w+|NODE_COMPILE_CACHE|MALLOC_ARENA_MAX)$/
export const strippedEnvironment = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(env).filter(([name]) => PASSED_ON.test(name)))

/**
 * Node's permission model, for a step that need not start the owner's commands: no other programs, add-ons or workers.
 * With commands it would be handed on to them. Which files may be written is the kernel's matter (`install.user`, the
 * systemd units): the model makes no link `current` unless all may be.
 */
export const permissionFlags = ({ command, health_command }: InstallSettings): readonly string[] =>
  command === '' && health_command === '' ? ['--permission', '--allow-fs-read=*', '--allow-fs-write=*'] : []

/** One question over two streams; whatever ends them before the answer rejects. */
interface Line {
  ask(text: string, id: number): Promise<StepResult>
}

function lineOver(input: Writable, output: Readable, whyEnded: () => string): Line {
  const answers = linesOf(output, MAX_ANSWER_CHARS)
  input.on('error', () => undefined) // the end of `output` says it
  return {
    async ask(text, id) {
      input.write(`${text}\n`)
      const next = await answers.next().catch(() => undefined)
      const answer = next?.done === false ? readLine(answerSchema, next.value) : undefined
      if (answer?.id !== id) throw new NotInstalledYet(whyEnded())
      return answer.result
    },
  }
}

/** Questions in their order, over a line that is opened when it is needed and again after it broke. */
function questions(openLine: (path: string) => Promise<Line>, drop: () => void): Pick<StepLink, 'ask'> {
  let turn: Promise<unknown> = Promise.resolve()
  let id = 0
  return {
    ask(question) {
      const next = turn.then(async () => {
        const line = await openLine(question.release.path)
        try {
          return await line.ask(JSON.stringify({ ...question, id: ++id }), id)
        } catch (error) {
          drop()
          throw error
        }
      })
      turn = next.catch(() => undefined)
      return next
    },
  }
}

export type ChildOptions = Readonly<{
  settings: InstallSettings
  signal: AbortSignal
  /** Who the child runs as, where that is another user; the file is then handed over open. */
  user?: Readonly<{ uid: number; gid: number }>
  /** The file that a release is bought into, by the release's path. */
  artifactOf: (path: string) => string | undefined
}>

export function childLink({ settings, signal, user, artifactOf }: ChildOptions): StepLink {
  let child: { process: ChildProcess; line: Line; forPath: string; ended: Promise<void> } | undefined
  let idle: ReturnType<typeof setTimeout> | undefined

  async function start(forPath: string): Promise<NonNullable<typeof child>> {
    const handed = user === undefined ? undefined : await openArtifact(artifactOf(forPath))
    try {
      const script = fileURLToPath(new URL('../start.ts', import.meta.url))
      const made = spawn(
        process.execPath,
        [...NODE_FLAGS, ...permissionFlags(settings), script, 'install-step', '--child'],
        {
          env: strippedEnvironment(process.env),
          stdio: ['pipe', 'pipe', 'inherit', ...(handed === undefined ? [] : [handed.fd])],
          ...user,
        },
      )
      const { stdin, stdout } = made
      if (stdin === null || stdout === null) throw new NotInstalledYet('The install step has no pipes.')
      let why = 'ended'
      const ended = new Promise<void>((resolve) => {
        made.once('error', (error) => {
          why = `could not be started (${error.message})`
          stdout.destroy()
          resolve()
        })
        made.once('exit', (code, killedBy) => {
          why = `ended (${killedBy ?? `exit code ${code}`})`
          resolve()
        })
      })
      stdin.write(`${JSON.stringify({ settings, handed: handed !== undefined })}\n`)
      const line = lineOver(stdin, stdout, () => `The install step ${why} before it had answered.`)
      return { process: made, line, forPath, ended }
    } finally {
      await handed?.close()
    }
  }

  async function close(): Promise<void> {
    clearTimeout(idle)
    const old = child
    child = undefined
    old?.process.stdin?.end()
    await old?.ended
  }
  // It ends what it does, and answers that it was stopped.
  signal.addEventListener('abort', () => child?.process.stdin?.end(), { once: true })

  const link = questions(
    async (path) => {
      clearTimeout(idle)
      if (user !== undefined && child !== undefined && child.forPath !== path) await close()
      child ??= await start(path)
      return child.line
    },
    () => void close(),
  )
  return {
    async ask(question) {
      if (signal.aborted) return { tag: 'stopped' }
      try {
        return await link.ask(question)
      } catch (error) {
        if (signal.aborted) return { tag: 'stopped' }
        throw error
      } finally {
        clearTimeout(idle)
        idle = setTimeout(() => void close(), IDLE_MS)
        idle.unref()
      }
    },
    close,
  }
}

async function openArtifact(path: string | undefined): Promise<FileHandle | undefined> {
  return path === undefined
    ? undefined
    : open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => undefined)
}

export function socketLink(path: string, signal: AbortSignal): StepLink {
  let open: { line: Line; end: () => void } | undefined
  const close = (): void => {
    open?.end()
    open = undefined
  }
  signal.addEventListener('abort', close, { once: true })

  const openLine = (): Promise<Line> =>
    new Promise((resolve, reject) => {
      if (open !== undefined) return resolve(open.line)
      const socket = connect(path)
      socket.once('error', (error) =>
        reject(
          new NotInstalledYet(
            `The install step does not answer at ${path} (${error.message}). Start it: satpatch install-step --settings FILE.`,
          ),
        ),
      )
      socket.once('connect', () => {
        socket.on('error', close)
        socket.once('close', () => (open = undefined))
        const line = lineOver(
          socket,
          socket,
          () => `The install step at ${path} ended before it had answered.`,
        )
        open = { line, end: () => socket.destroy() }
        resolve(line)
      })
    })
  const link = questions(openLine, close)
  return {
    async ask(question) {
      try {
        return await link.ask(question)
      } catch (error) {
        if (signal.aborted) return { tag: 'stopped' }
        throw error
      }
    },
    close: () => Promise.resolve(close()),
  }
}
