/**
 * What systemd needs to run a device as two users: the network process as `satpatch`, the install step as root or whoever
 * the owner puts into its unit, without a network. Texts only; `device init --systemd DIR` writes them.
 */
import { stringify } from 'smol-toml'
import type { InstallSettings } from '../install/settings.ts'
import { DEVICE_FLAGS, NODE_FLAGS } from '../node-settings.mjs'

export const UNIT_USER = 'satpatch'
export const UNIT_SOCKET = '/run/satpatch/step/socket'
const STATE_DIR = '/var/lib/satpatch-install'

export type Units = Readonly<{
  /** Where the units and install.toml go: the install step's user owns it, nobody else may write there. */
  directory: string
  node: string
  /** `device/start.ts`. */
  program: string
  /** device.toml, in a directory that belongs to the network process's user. */
  configFile: string
  /** Directory of device.toml. */
  home: string
  settings: Pick<InstallSettings, 'vendor' | 'hardware' | 'products' | 'data_dir' | 'health_command'>
}>

const quoted = (words: readonly string[]): string =>
  words
    .map((word) => (/^[\w./=-]+$/.test(word) ? word : JSON.stringify(word).replaceAll('%', '%%')))
    .join(' ')

/** File names and their texts. */
export function unitFiles(units: Units): Readonly<Record<string, string>> {
  const { directory, node, program, configFile, home, settings } = units
  const settingsFile = `${directory}/install.toml`
  const device = quoted([
    node,
    ...NODE_FLAGS,
    ...DEVICE_FLAGS,
    program,
    'device',
    'run',
    '--config',
    configFile,
  ])
  const step = quoted([node, ...NODE_FLAGS, program, 'install-step', '--settings', settingsFile])
  return {
    'install.toml': `# What the install step goes by. Only its own user may write this file: the network process is not trusted with it.
${stringify({
  version: 1,
  ...settings,
  state_dir: STATE_DIR,
  products_dir: `${STATE_DIR}/products`,
  socket: UNIT_SOCKET,
  health_timeout_seconds: 60,
  command: '',
  command_timeout_seconds: 900,
  rollback_command: '',
})}`,
    'satpatch-install.service': `[Unit]
Description=Satpatch install step: verifies again, and installs

[Service]
ExecStart=${step}
Restart=always
RuntimeDirectory=satpatch
StateDirectory=satpatch-install
StateDirectoryMode=0711
# It has no use for a network. What it may write beside its own is for the owner's commands to say.
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full

[Install]
WantedBy=multi-user.target
`,
    'satpatch-device.service': `[Unit]
Description=Satpatch device: buys what its vendor signed
Wants=network-online.target satpatch-install.service
After=network-online.target satpatch-install.service

[Service]
User=${UNIT_USER}
ExecStart=${device}
Restart=always
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ReadWritePaths=${quoted([home])}
CapabilityBoundingSet=

[Install]
WantedBy=multi-user.target
`,
  }
}

/** What is left for root to do, one command a line. */
export const unitCommands = ({ directory, home }: Pick<Units, 'directory' | 'home'>): readonly string[] => [
  `useradd --system --home-dir ${quoted([home])} --shell /usr/sbin/nologin ${UNIT_USER}`,
  `chown -R ${UNIT_USER}: ${quoted([home])}`,
  `systemctl enable --now ${quoted([`${directory}/satpatch-install.service`, `${directory}/satpatch-device.service`])}`,
]
