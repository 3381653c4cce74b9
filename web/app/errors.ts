/**
 * The one table that turns an error into words: what happened, and what the person can do. Errors made for
 * people carry their own sentence; the table adds the action by their code. Anything else is said honestly.
 */
export type Words = Readonly<{ what: string; todo: string }>

/** `message` marks where the error's own sentence goes; `what` replaces it. */
const table: Readonly<Record<string, Readonly<{ what?: string; todo: string }>>> = {
  // vendor
  'not-admitted': { todo: 'Open the one-time link that the relay printed when it started.' },
  'bad-code': {
    todo: 'Start the relay again for a new link, and open that one. Your keys stay as they are.',
  },
  'bad-file': { todo: 'Choose another file. Nothing was published.' },
  'bad-form': { todo: 'Correct it and publish again. What you filled in is still there.' },
  'not-newer': { todo: 'Give it a higher version. Nothing was published.' },
  'unknown-release': { todo: 'Go back to the releases; the list is up to date.' },
  'needs-signatures': { todo: 'Send the link on the Keys page to who signs with you.' },
  'not-signer': { todo: 'Nothing was signed.' },
  conflict: { todo: 'Publish again. Nothing is lost.' },
  'too-large': { todo: 'Withdraw releases that no device needs any more, or shorten the notes.' },
  unreachable: { todo: 'Check that the relay runs, then try again. Nothing was lost.' },
  refused: { todo: 'Nothing was changed.' },
  untrusted: { todo: 'Do not sign anything now: compare the relay with your backup first.' },
  wallet: { todo: 'Check the wallet, then try again.' },
  closed: { todo: 'Reload the page. Nothing is lost.' },
  // keys and backups
  'wrong-passphrase': { todo: 'Type it again. Nothing is changed by trying.' },
  'needs-passphrase': { todo: 'Type the passphrase that it was saved with.' },
  'weak-passphrase': { todo: 'Use a longer one, several words for example.' },
  'not-a-key-file': { todo: 'Choose the file that this page saved, named satpatch-backup.' },
  'newer-version': { todo: 'Load the new version of this page, then try again.' },
  'other-keys': { todo: 'Choose the file that was saved just now.' },
  sealed: { todo: 'Use the backup that was saved.' },
  'no-webcrypto': { todo: 'Open this page on localhost or over https.' },
  'bad-handover': { todo: 'Start the demo again for a new address. Keys in this browser stay as they are.' },
  // relay
  'not-a-relay': { todo: 'Check the address.' },
  rejected: { todo: 'Try again. Nothing was changed.' },
  'queue-full': { todo: 'Wait until the relay answers again, then try once more.' },
  'timed-out': { todo: 'Check that the relay runs, then try again.' },
  // wallet
  'rate-limited': { todo: 'Wait a minute, then try again.' },
  'not-implemented': { todo: 'Use another wallet connection for this.' },
  'insufficient-balance': { todo: 'Put more into the wallet, then try again.' },
  'quota-exceeded': { todo: 'Raise the limit of this connection, then try again.' },
  restricted: { todo: 'Use a connection that is allowed to do this.' },
  unauthorized: { todo: 'Make a new connection in your wallet and paste it here.' },
  internal: { todo: 'Try again. If it stays, read the log of the wallet.' },
  'unsupported-encryption': { todo: 'Update the wallet: it must speak NIP-44.' },
  'payment-failed': { todo: 'Nothing was paid. Try again.' },
  'not-found': { todo: 'It may have been deleted. Reload the page.' },
  expired: { todo: 'Ask for a new one.' },
  // browser
  insecure: {
    what: 'This page was opened over plain HTTP, where browsers give it no keys and no storage.',
    todo: 'Open it as http://localhost on the machine that runs the relay, or start the relay with --tls-cert and --tls-key.',
  },
  NotReadableError: {
    what: 'The file could not be read: it was moved, changed or deleted.',
    todo: 'Choose it again.',
  },
  NotFoundError: { what: 'The file is no longer there.', todo: 'Choose it again.' },
  QuotaExceededError: {
    what: 'This browser has no room left for a copy of the file.',
    todo: 'Free some disk space, or let this browser keep more. The file itself is untouched.',
  },
  StorageError: { todo: 'Free some disk space, or allow this page to store data, then reload.' },
  EmptyArtifactError: { todo: 'Nothing was published.' },
  'ice-failed': {
    what: 'Peers were found, but no connection to them came up.',
    todo: 'Behind strict networks the relay must name a STUN server (--stun), and a TURN server (--turn) where that is not enough.',
  },
}

const sentence = (text: string): string => (/[.?]$/.test(text.trim()) ? text.trim() : `${text.trim()}.`)

/** Words for any error; never throws, never shows a stack. */
export function words(error: unknown): Words {
  const code = codeOf(error)
  const known = code === undefined ? undefined : table[code]
  const message = error instanceof Error && error.message !== '' ? sentence(error.message) : undefined
  if (known) {
    const what = known.what ?? message ?? 'That did not work.'
    // An error made for people may already say what to do: two sentences or more are left alone.
    const saysMore = known.what === undefined && /[.;:] \S/.test(what)
    return { what, todo: saysMore ? '' : known.todo }
  }
  return { what: message ?? 'That did not work.', todo: message ? '' : 'Reload the page and try again.' }
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  const { code, name } = error as { code?: unknown; name?: unknown }
  if (typeof code === 'string' && code in table) return code
  return typeof name === 'string' && name in table ? name : undefined
}

/** An error of the app itself, with its entry in the table. */
export class AppError extends Error {
  readonly code: string
  constructor(code: string, message = '', options?: ErrorOptions) {
    super(message, options)
    this.name = 'AppError'
    this.code = code
  }
}
