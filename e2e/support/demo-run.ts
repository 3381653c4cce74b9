/** Runs the demo as a script would: `--once --json` on a free port, and reads what it printed. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import * as v from 'valibot'
import { root } from './run.ts'

const resultSchema = v.object({
  ok: v.boolean(),
  release: v.object({ name: v.string(), version: v.string(), sha256: v.string(), bytes: v.number() }),
  devices: v.array(
    v.object({
      id: v.string(),
      state: v.string(),
      sha256: v.string(),
      seconds: v.number(),
      paidMsat: v.number(),
      feesMsat: v.number(),
      receipts: v.number(),
      receiptsValid: v.boolean(),
      piecesBoughtTwice: v.number(),
      sellers: v.record(v.string(), v.number()),
    }),
  ),
  sellers: v.array(v.object({ id: v.string(), earnedMsat: v.number(), uploadedBytes: v.number() })),
})

export type DemoRun = Readonly<{
  code: number
  stdout: string
  stderr: string
  /** Parsed when asked for: throws when stdout was not what it should be. */
  result: v.InferOutput<typeof resultSchema>
}>

export async function demo(args: readonly string[], timeoutMs: number): Promise<DemoRun> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'satpatch-demo-'))
  const all = [
    'device/setup.mjs',
    'run',
    'e2e/demo/main.ts',
    '--once',
    '--json',
    '--port',
    '0',
    '--data',
    dir,
    ...args,
  ]
  const child = spawn(process.execPath, all, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
  // It stops its own children on SIGTERM.
  const timer = setTimeout(() => child.kill('SIGTERM'), timeoutMs)
  const code = await new Promise<number>((resolve) => child.once('close', (status) => resolve(status ?? -1)))
  clearTimeout(timer)
  if (code === 1) console.error(stderr)
  fs.rmSync(dir, { recursive: true, force: true })
  return {
    code,
    stdout,
    stderr,
    get result() {
      return v.parse(resultSchema, JSON.parse(stdout))
    },
  }
}
