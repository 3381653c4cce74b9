/** Finds a Chromium for the journeys, and installs Debian's where there is none and we may. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { run } from './run.ts'

const APT_TIMEOUT_MS = 8 * 60_000
const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome']

/** The path of a Chromium, or undefined. `CHROMIUM` overrides the search. */
export function findBrowser(): string | undefined {
  const asked = process.env['CHROMIUM']
  if (asked !== undefined && asked !== '') return isProgram(asked) ? asked : undefined
  const dirs = [
    ...(process.env['PATH'] ?? '').split(path.delimiter),
    '/usr/bin',
    '/usr/local/bin',
    '/snap/bin',
  ]
  for (const dir of dirs)
    for (const name of NAMES) if (isProgram(path.join(dir, name))) return path.join(dir, name)
  const mac = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'
  return isProgram(mac) ? mac : playwrightsOwn()
}

/** Where `playwright install chromium` puts it. */
function playwrightsOwn(): string | undefined {
  const cache = process.env['PLAYWRIGHT_BROWSERS_PATH'] ?? path.join(os.homedir(), '.cache', 'ms-playwright')
  if (!fs.existsSync(cache)) return undefined
  const builds = fs.readdirSync(cache).filter((name) => name.startsWith('chromium-'))
  return builds
    .toSorted()
    .reverse()
    .flatMap((build) =>
      ['chrome-linux64', 'chrome-linux'].map((dir) => path.join(cache, build, dir, 'chrome')),
    )
    .find(isProgram)
}

function isProgram(file: string): boolean {
  try {
    fs.accessSync(file, fs.constants.X_OK)
    return fs.statSync(file).isFile()
  } catch {
    return false
  }
}

/** A browser's path, or why there is none and what to do about it. */
export async function ensureBrowser(
  say: (line: string) => void,
): Promise<{ tag: 'found'; path: string } | { tag: 'missing'; message: string }> {
  const found = findBrowser()
  if (found !== undefined) return { tag: 'found', path: found }
  const how = 'Install one (Debian: apt-get install chromium), or set CHROMIUM to the path of yours.'
  if (process.env['CHROMIUM']) return { tag: 'missing', message: `CHROMIUM is not a program. ${how}` }
  if (!isProgram('/usr/bin/apt-get')) return { tag: 'missing', message: `There is no Chromium here. ${how}` }
  const prefix = await adminPrefix()
  if (prefix === undefined)
    return { tag: 'missing', message: `There is no Chromium here and this user may not install it. ${how}` }
  say('No browser found: installing Debian’s chromium…')
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  let output = ''
  for (const args of [['update'], ['install', '-y', '--no-install-recommends', 'chromium']]) {
    const [command, ...rest] = [...prefix, 'apt-get', ...args]
    const ended = await run(command ?? 'apt-get', rest, { timeoutMs: APT_TIMEOUT_MS, env })
    output = ended.output.slice(-2000)
    if (ended.code !== 0 && args[0] === 'install')
      return { tag: 'missing', message: `apt-get could not install chromium. ${how}\n${output}` }
  }
  const now = findBrowser()
  return now === undefined
    ? { tag: 'missing', message: `apt-get installed chromium, but it is not to be found. ${how}\n${output}` }
    : { tag: 'found', path: now }
}

async function adminPrefix(): Promise<string[] | undefined> {
  if (process.getuid?.() === 0) return []
  const sudo = await run('sudo', ['-n', 'true'], { timeoutMs: 5_000 })
  return sudo.code === 0 ? ['sudo', '-n'] : undefined
}
