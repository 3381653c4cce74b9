/** Who has a hand on the device's own disk, or pulls its plug: MFST.TOCTOU and torn files, with the real process. */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { kill, satpatch, seen } from '../failures/scene.ts'
import { until } from '../support/processes.ts'
import { stageOfFile } from './stage.ts'

/** An installer that waits for a sign before it reads, from the proven handle. */
let dir = ''
const file = (name: string): string => path.join(dir, name)
const stage = stageOfFile({
  edit(toml) {
    dir = fs.mkdtempSync('/tmp/satpatch-toctou-')
    fs.writeFileSync(file('go'), '')
    const wait = `touch ${file('asked')}; until [ -e ${file('go')} ]; do sleep 0.05; done`
    return toml
      .replace('\ncommand = ""', `\ncommand = ${JSON.stringify(`${wait}; cat <&3 > ${file('installed')}`)}`)
      .replace('rollback_command = ""', 'rollback_command = "true"')
  },
})

test('MFST.TOCTOU: a file swapped between proof and use is not what is installed, and the swap is named', async () => {
  const { device } = stage()
  fs.rmSync(file('go'))
  fs.rmSync(file('asked'))
  const since = stage().logLength()
  const release = await stage().ship('1.1.0')
  await seen('the installer to be asked', dir, () => (fs.existsSync(file('asked')) ? true : undefined))
  const artifact = path.join(device.dataDir, 'downloads', release.infoHash, 'artifact')
  fs.rmSync(artifact)
  fs.writeFileSync(artifact, 'evil')
  fs.writeFileSync(file('go'), '')
  await stage().named('replaced-file', since)
  await until('the vendor to hear of it', 45_000, () =>
    stage()
      .refused()
      .find(({ attack }) => attack === 'replaced-file'),
  )
  const installed = fs.readFileSync(file('installed'))
  expect(createHash('sha256').update(installed).digest('hex')).toBe(release.sha256)
  const state = JSON.parse(fs.readFileSync(path.join(device.dataDir, 'state.json'), 'utf8')) as {
    installed: { firmware?: { version: string } }
  }
  expect(state.installed.firmware?.version).toBe('1.0.0')
})

test('files torn by a power cut: metadata and caches are fetched anew, a torn record stops the device in words', async () => {
  const { device } = stage()
  await kill(device.program)
  const torn = (name: string): void => {
    const at = path.join(device.dataDir, name)
    fs.truncateSync(at, Math.floor(fs.statSync(at).size / 2))
  }
  for (const name of ['timestamp', 'snapshot', 'targets']) torn(`metadata/${name}.json`)
  torn('relay-config.json')
  torn('refused.json')
  device.program = device.start()
  const release = await stage().ship('1.2.0')
  await stage().healthy(release)

  await device.program.stop()
  const record = path.join(device.dataDir, 'state.json')
  const whole = fs.readFileSync(record)
  torn('state.json')
  const refused = await satpatch(['device', 'run', '--config', device.configFile])
  expect(refused.code).toBe(1)
  expect(refused.output).toMatch(/state\.json is not a record.*Keep a copy/)
  fs.writeFileSync(record, whole)
  device.program = device.start()
  const next = await stage().ship('1.3.0')
  await stage().healthy(next)
  fs.rmSync(dir, { recursive: true, force: true })
})
