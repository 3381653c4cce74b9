/** `install.user`: root starts the device, another user installs, and runs what is installed. The kernel keeps the keys from that user. */
import fs from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { installedFile } from '../support/house.ts'
import { openStage } from './stage.ts'

const USER = 'nobody'
const field = (name: string, at: number): number =>
  Number(
    fs
      .readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((line) => line.startsWith(`${name}:`))
      ?.split(':')[at] ?? NaN,
  )
const uidOf = (name: string): number => field(name, 2)
const gidOf = (name: string): number => field(name, 3)
const isRoot = process.geteuid?.() === 0 && Number.isInteger(uidOf(USER))

test.skipIf(!isRoot)(
  'KEY.EXPOSURE: the other user installs, and neither it nor the commands that it runs can read a key or change a record',
  async () => {
    const tried = fs.mkdtempSync('/tmp/satpatch-users-')
    fs.chmodSync(tried, 0o777)
    const steps = [
      `exec 2>> ${tried}/errors`,
      `id -u > ${tried}/uid`,
      `id -G > ${tried}/groups`,
      `cd "$(cat ${tried}/home)"`,
      `cat device.toml data/state.json data/journal/* data/floor/* >> ${tried}/read`,
      `ls data data/journal >> ${tried}/read`,
      `touch mine data/mine data/metadata/mine && echo written >> ${tried}/read`,
      'true',
    ]
    const stage = await openStage({
      edit: (toml) =>
        toml
          .replace('\nuser = ""', `\nuser = "${USER}"`)
          .replace('health_command = ""', `health_command = ${JSON.stringify(steps.join('; '))}`),
    })
    onTestFinished(async () => {
      await stage.close()
      fs.rmSync(tried, { recursive: true, force: true })
    })
    const home = path.dirname(stage.device.configFile)
    fs.writeFileSync(path.join(tried, 'home'), home)
    // The stage's own directory is nobody else's to go through.
    const refused = stage.device.start()
    expect(await refused.exited).toBe(1)
    expect(refused.tail()).toContain(`"install.user": ${USER} cannot go through ${stage.dir}`)
    fs.chmodSync(stage.dir, 0o711)
    const release = await stage.ship('1.0.0')
    stage.device.program = stage.device.start()
    await stage.healthy(release)
    const said = (name: string): string => fs.readFileSync(path.join(tried, name), 'utf8').trim()
    expect([said('uid'), said('groups')]).toEqual([String(uidOf(USER)), String(gidOf(USER))])
    expect(said('read')).toBe('')
    expect(
      said('errors')
        .split('\n')
        .filter((line) => line.includes('Permission denied')).length,
    ).toBeGreaterThan(6)
    expect(fs.statSync(installedFile(stage.device, 'firmware', release.fileName)).uid).toBe(uidOf(USER))
    expect(fs.statSync(stage.device.configFile).mode & 0o777).toBe(0o600)
  },
  240_000,
)
