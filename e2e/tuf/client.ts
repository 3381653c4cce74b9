/** `satpatch tuf` as the suite drives it: in this process, or as the command that people start. */
import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { vi } from 'vitest'
import { runTuf } from '../../device/cli/tuf.ts'
import { root as projectRoot } from '../support/run.ts'
import type { Repository } from './repository.ts'
import { serve, type Served } from './serve.ts'

/** Runs `satpatch tuf ARGS` at a time (Unix ms); gives exit code and what went to stdout. */
export type Run = (
  args: readonly string[],
  nowMs: number,
) => Promise<Readonly<{ code: number; stdout: string }>>

/** Real files, real HTTP, the real command but for the start of a process. */
export const inProcess: Run = async (args, nowMs) => {
  const quiet = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  vi.useFakeTimers({ toFake: ['Date'], now: nowMs })
  try {
    return { code: await runTuf(args), stdout: '' }
  } finally {
    vi.useRealTimers()
    quiet.mockRestore()
  }
}

/** Node's clock moved by a preloaded line: what faketime does, without having to be installed. */
const clockAt = (nowMs: number): string =>
  `data:text/javascript,${encodeURIComponent(`const shift = ${nowMs} - Date.now(), now = Date.now; Date.now = () => now() + shift`)}`

export const asProcess: Run = (args, nowMs) =>
  new Promise((resolve, reject) => {
    const command = [
      '--disable-warning=ExperimentalWarning',
      `--import=${clockAt(nowMs)}`,
      join(projectRoot, 'device/start.ts'),
    ]
    const child = spawn(process.execPath, [...command, 'tuf', ...args], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    let stdout = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code: code ?? -1, stdout }))
  })

export class Client {
  readonly metadataDir: string
  readonly artifactDir: string
  readonly #dir: string
  readonly #run: Run
  readonly #served: Served
  readonly #repository: Repository
  /** The client's clock. */
  nowMs: number

  private constructor(dir: string, run: Run, served: Served, repository: Repository) {
    this.#dir = dir
    this.#run = run
    this.#served = served
    this.#repository = repository
    this.metadataDir = join(dir, 'metadata')
    this.artifactDir = join(dir, 'targets')
    this.nowMs = repository.nowMs
  }

  /** Begins with the repository's first root, or with `trusted`. */
  static async start(run: Run, repository: Repository, trusted?: Buffer, prefix = ''): Promise<Client> {
    const dir = await mkdtemp(join(tmpdir(), 'satpatch-tuf-'))
    const client = new Client(dir, run, await serve(repository, prefix), repository)
    await client.init(trusted ?? repository.firstRoot())
    return client
  }
  async stop(): Promise<void> {
    await this.#served.stop()
    await rm(this.#dir, { recursive: true, force: true })
  }

  async init(trusted: Buffer): Promise<number> {
    const file = join(this.#dir, 'initial_root.json')
    await writeFile(file, trusted)
    return this.#exit(['--metadata-dir', this.metadataDir, 'init', file])
  }
  refresh(): Promise<number> {
    return this.#exit([...this.#common(), 'refresh'])
  }
  download(...names: readonly string[]): Promise<number> {
    const named = names.flatMap((name) => ['--target-name', name])
    const to = ['--target-dir', this.artifactDir, '--target-base-url', this.#served.targetsUrl]
    return this.#exit([...this.#common(), ...named, ...to, 'download'])
  }
  #common(): string[] {
    return ['--metadata-url', this.#served.metadataUrl, '--metadata-dir', this.metadataDir]
  }
  async #exit(args: readonly string[]): Promise<number> {
    this.#repository.requests.length = 0
    const { code, stdout } = await this.#run(args, this.nowMs)
    if (stdout !== '') throw new Error(`stdout: ${stdout}`)
    return code
  }

  /** Files under the metadata directory, with the version in each. */
  async trusted(): Promise<Record<string, number>> {
    const found: Record<string, number> = {}
    for (const file of (await readdir(this.metadataDir)).toSorted()) {
      const text = await readFile(join(this.metadataDir, file), 'utf8')
      found[file] = (JSON.parse(text) as { signed: { version: number } }).signed.version
    }
    return found
  }
  kept(role: string): Promise<Buffer> {
    return readFile(join(this.metadataDir, `${role}.json`))
  }
  spoil(role: string, text: string): Promise<void> {
    return writeFile(join(this.metadataDir, `${role}.json`), text)
  }
  /** Artifacts by the names of their files. */
  async artifacts(): Promise<Record<string, string>> {
    const there = await stat(this.artifactDir).catch(() => undefined)
    if (!there) return {}
    const names = await readdir(this.artifactDir)
    const texts = names.map(
      async (name) => [name, await readFile(join(this.artifactDir, name), 'utf8')] as const,
    )
    return Object.fromEntries(await Promise.all(texts))
  }
  /** Metadata that the last command asked for, artifacts as `targets/…`. */
  get asked(): string[] {
    return this.#repository.requests.map((path) => path.replace(/^\/metadata\//, '').replace(/^\//, ''))
  }
}
