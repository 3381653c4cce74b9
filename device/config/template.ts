/** Writes a new `device.toml`, and changes single values in one without touching its comments. */
import { parseConfig } from './config.ts'

export type NewDevice = Readonly<{
  name: string
  hardware: string
  dataDir: string
  vendor: string
  relays: readonly string[]
  trackers: readonly string[]
  deviceSecret: string
  walletClientSecret: string
  walletConnection: string
  products: readonly string[]
  healthCommand: string
  /** Where an install step of its own listens. */
  installSocket?: string
  /** `undefined`: no cap beside the release's own. */
  priceCapMsat: number | undefined
}>

/** A TOML literal: JSON's texts are TOML's, but for DEL. */
function literal(value: string | readonly string[]): string {
  if (typeof value !== 'string') return `[${value.map(literal).join(', ')}]`
  return JSON.stringify(value).replaceAll('\x7f', '\\u007f')
}

export function deviceToml(device: NewDevice): string {
  return `# A Satpatch device. This file holds secret keys: keep it to its owner (mode 0600), and back it up.
version = 1

# How the vendor's list shows this device, and what its releases must be made for.
name = ${literal(device.name)}
hardware = ${literal(device.hardware)}

# Everything that the device keeps: state, slots with the installed files, purchases. Relative to this file.
data_dir = ${literal(device.dataDir)}

# A page for the device's own screen, which this machine alone can open: "127.0.0.1:8788", say. Empty: none.
kiosk = ""

[vendor]
# The vendor's id: SHA-256 of its first root.json. The device installs nothing that this vendor did not sign.
root = ${literal(device.vendor)}
# Relays, tried in order: release mirror, configuration, Nostr, tracker, wallet service.
relays = ${literal(device.relays)}
# Static hosts with a copy of the mirror ("satpatch export"), tried in turn after the relays. None is trusted.
mirrors = []
# Further Nostr relays and WebTorrent trackers.
nostr_relays = []
trackers = ${literal(device.trackers)}

[keys]
# Who this device is, and the client key of its wallet connection. Secret.
device = ${literal(device.deviceSecret)}
wallet_client = ${literal(device.walletClientSecret)}

[wallet]
# Nostr Wallet Connect string (nostr+walletconnect://…). Secret. Empty: the vendor's allowance fills it in.
connection = ${literal(device.walletConnection)}

[limits]
# Highest price that is paid, in millisatoshi per MiB. Without it the cap that the vendor set for the release holds.
${device.priceCapMsat === undefined ? '# price_cap_msat_per_mib = 10000' : `price_cap_msat_per_mib = ${device.priceCapMsat}`}
# Most that one release may cost, fees included.
budget_sats_per_release = 100000
# What may be at stake with one seller that has delivered before.
risk_sats_per_seller = 100
# What may be at stake with all other sellers together. Without it: four pieces at the price cap. Never less than one.
# risk_sats_unproven = 100
# Most that is downloaded in a day (UTC). 0: no limit.
bytes_per_day = 0
# A payment locked for longer may be made to another seller.
payment_timeout_seconds = 60
# Which seller is asked when several have a piece: "cheapest", "balanced" or "fastest".
prefer = "balanced"
# Most bytes that are paid for, for one release. 0: no limit.
bytes_bought_per_release = 0
# Payments under way at a time, 1 to 483.
payment_slots = 64

[install]
# Products that this device takes. Empty: all that are made for its hardware.
products = ${literal(device.products)}
# Runs after the switch to a new version; exit code 0 within the time means healthy, anything else brings the old
# version back. It sees SATPATCH_ARTIFACT, SATPATCH_VERSION, SATPATCH_PRODUCT and SATPATCH_SLOT.
health_command = ${literal(device.healthCommand)}
health_timeout_seconds = 60
# Hand over to another installer (RAUC, SWUpdate, a script) in place of the two slots. It may run twice after a power cut.
# It sees the same, and in SATPATCH_INSTALLER what the vendor says the artifact is for; the slots take no such release.
command = ""
command_timeout_seconds = 900
rollback_command = ""
# The step that installs is a process of its own, which verifies everything again. Its user, where root starts the device
# (only what it installs is then that user's), or the socket of one that runs by itself ("satpatch device init --systemd":
# then products, hardware and commands are those of install.toml).
user = ""
socket = ${literal(device.installSocket ?? '')}

[swarm]
# WebRTC helpers: "stun:host:3478", "turn:user:password@host:3478". None is contacted unless named here or by the relay.
stun = []
turn = []
use_relay_ice_servers = true
use_relay_tracker = true
# How often the mirror is looked at, beside the announcements.
check_minutes = 5
# Bytes a second, all peers together: 500000, "500K", "2M". 0: no limit.
upload_limit = 0
download_limit = 0
# Sell pieces that are proven here to other devices, at this price. Without it nothing is sold.
# resell_msat_per_mib = 1000
# A plain HTTP server with the artifact, as one more source; {file} stands for the artifact's file name. Its bytes are
# proven like all others, and counted apart. "never", "fallback" (when no seller brings anything) or "always".
mirror = "fallback"
mirror_url = ""
`
}

/** The file with `connection` set, everything else as its owner left it. @throws ConfigError when it would not parse. */
export function withWalletConnection(source: string, file: string, connection: string): string {
  const line = `connection = ${literal(connection)}`
  const lines = source.split('\n')
  const start = lines.findIndex((text) => /^\s*\[wallet\]\s*(#.*)?$/.test(text))
  let next: string
  if (start < 0) {
    next = `${source.replace(/\n*$/, '\n')}\n[wallet]\n${line}\n`
  } else {
    const length = lines.slice(start + 1).findIndex((text) => /^\s*\[/.test(text))
    const end = length < 0 ? lines.length : start + 1 + length
    const at = lines.findIndex((text, i) => i > start && i < end && /^\s*connection\s*=/.test(text))
    if (at < 0) lines.splice(start + 1, 0, line)
    else lines[at] = line
    next = lines.join('\n')
  }
  parseConfig(next, file)
  return next
}
