/**
 * `npm run conformance:tuf`: the public TUF conformance suite against the command that people start. It is fetched
 * into .cache, since it is not ours; `--suite DIR` takes a checkout that is there. It needs git, Python with venv, and
 * faketime. What it says goes through; the exit code is the suite's.
 */
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { root } from '../support/run.ts'

const SUITE = 'https://github.com/theupdateframework/tuf-conformance'

const { values, positionals } = parseArgs({
  options: { suite: { type: 'string' } },
  allowPositionals: true, // handed on to pytest: -k NAME
})

/** Runs a command; gives its exit code, 127 where there is none of that name. */
const run = (command: string, args: readonly string[]): Promise<number> =>
  new Promise((resolve) => {
    const child = spawn(command, args, { stdio: 'inherit' })
    child.on('error', () => resolve(127))
    child.on('close', (code) => resolve(code ?? 1))
  })

async function must(what: string, command: string, ...args: string[]): Promise<void> {
  if ((await run(command, args)) !== 0) {
    console.error(`${what} failed (${command} ${args.join(' ')}), so the public suite was not run.`)
    process.exit(1)
  }
}

const cache = path.join(root, '.cache', 'tuf-conformance')
const suite = values.suite === undefined ? path.join(cache, 'suite') : path.resolve(values.suite)
mkdirSync(cache, { recursive: true })
if (!existsSync(suite)) await must('Fetching the suite', 'git', 'clone', '--depth=1', SUITE, suite)
await must('Finding faketime (Debian: apt-get install faketime)', 'faketime', '2030-01-01', 'true')
const python = path.join(cache, 'env')
if (!existsSync(path.join(python, 'bin', 'pytest'))) {
  await must('Making a Python environment', 'python3', '-m', 'venv', python)
  await must('Installing the suite', path.join(python, 'bin', 'pip'), 'install', '--quiet', '-e', suite)
}
// The suite splits its entry point at spaces: one file is safe wherever the project lies.
const client = path.join(cache, 'client')
writeFileSync(client, `#!/bin/sh\ncd '${root}' && exec npm run --silent satpatch -- tuf "$@"\n`)
chmodSync(client, 0o755)
const tests = path.join(suite, 'tuf_conformance')
process.exitCode = await run(path.join(python, 'bin', 'pytest'), [
  tests,
  '--entrypoint',
  client,
  ...positionals,
])
