/** The bootstrap hands over cleanly: stdout, exit code and signals are the program's own, and it costs little. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'

const setup = path.resolve(import.meta.dirname, 'setup.mjs')

function program(source: string): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'satpatch-setup-'))
  onTestFinished(() => fs.rmSync(dir, { recursive: true, force: true }))
  const file = path.join(dir, 'program.ts')
  fs.writeFileSync(file, source)
  return file
}

test('arguments, stdout and the exit code pass through; nothing is added', () => {
  const file = program(`
    import { DatabaseSync } from 'node:sqlite'
    const args: readonly string[] = process.argv.slice(2)
    console.log(JSON.stringify({ args, sqlite: typeof DatabaseSync, major: Number(process.versions.node.split('.')[0]) }))
    process.exitCode = 7
  `)
  const ended = spawnSync(process.execPath, [setup, 'run', file, '--json', 'a b', 'ü'], { encoding: 'utf8' })
  expect(ended.status).toBe(7)
  expect(ended.stderr).toBe('')
  const said = JSON.parse(ended.stdout) as { args: string[]; sqlite: string; major: number }
  expect(said).toMatchObject({ args: ['--json', 'a b', 'ü'], sqlite: 'function' })
  expect(said.major).toBeGreaterThanOrEqual(24)
})

test('SIGTERM reaches the program, and its answer comes back', async () => {
  const file = program(`
    process.on('SIGTERM', () => { console.log('stopping'); process.exit(3) })
    console.log('ready')
    setInterval(() => undefined, 1000)
  `)
  const child = spawn(process.execPath, [setup, 'run', file], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    said += chunk
    if (said === 'ready\n') child.kill('SIGTERM')
  })
  const [code] = (await once(child, 'close')) as [number | null]
  expect(said).toBe('ready\nstopping\n')
  expect(code).toBe(3)
})

test.each([
  [['run', 'no/such/file.ts'], 'There is no'],
  [['bin', 'no-such-tool'], 'There is no'],
  [['dance'], 'Usage:'],
])('%j is refused in words, without a stack', (args, words) => {
  const ended = spawnSync(process.execPath, [setup, ...args], { encoding: 'utf8' })
  expect(ended.status).toBe(1)
  expect(ended.stdout).toBe('')
  expect(ended.stderr).toContain(words)
  expect(ended.stderr).not.toContain('    at ')
})
