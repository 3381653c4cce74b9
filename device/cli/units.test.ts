import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readSettings } from '../install/settings.ts'
import { UNIT_SOCKET, unitCommands, unitFiles } from './units.ts'

const units = {
  directory: '/etc/satpatch',
  node: '/opt/my node/bin/node',
  program: '/opt/satpatch/device/start.ts',
  configFile: '/var/lib/satpatch/device.toml',
  home: '/var/lib/satpatch',
  settings: {
    vendor: 'ab'.repeat(32) as never,
    hardware: 'pi4',
    products: ['pump'],
    data_dir: '/var/lib/satpatch/data',
    health_command: 'curl -f "http://localhost"',
  },
}

test('the units run as two users, the install step without a network, by settings that it can read', async () => {
  const files = unitFiles(units)
  const dir = await mkdtemp(join(tmpdir(), 'satpatch-units-'))
  await writeFile(join(dir, 'install.toml'), files['install.toml'] ?? '')
  expect(await readSettings(join(dir, 'install.toml'))).toMatchObject({
    ...units.settings,
    socket: UNIT_SOCKET,
    state_dir: '/var/lib/satpatch-install',
  })
  await rm(dir, { recursive: true })
  const [install = '', device = ''] = [files['satpatch-install.service'], files['satpatch-device.service']]
  expect(device).toContain('\nUser=satpatch\n')
  expect(install).not.toContain('User=')
  expect(install).toContain('\nPrivateNetwork=yes\n')
  expect(install).toContain('ExecStart="/opt/my node/bin/node" ')
  expect(install).not.toContain('device.toml')
  expect(unitCommands(units).at(-1)).toContain('/etc/satpatch/satpatch-device.service')
})
