/** Logs: readable on a terminal, one JSON object a line otherwise. Secrets never reach them. */
import pino, { type DestinationStream, type Logger } from 'pino'
import pretty from 'pino-pretty'

export type { Logger } from 'pino'

export const logLevels = ['silent', 'error', 'warn', 'info', 'debug', 'trace'] as const
export type LogLevel = (typeof logLevels)[number]

/** Names under which a secret might be logged by mistake, at the top and one level down. */
const SECRET_NAMES = [
  'secret',
  'connection',
  'walletConnection',
  'wallet_client',
  'walletClient',
  'passphrase',
  'preimage',
  'nwc',
  'authorization',
  'credential',
  'admissionLink',
]
/** Secrets inside texts: wallet strings, and the codes in one-time links. */
const SECRET_TEXT = /(secret=|#admit=|#keys=|#restore=)[^\s&"']+/gi

export const withoutSecrets = (text: string): string => text.replace(SECRET_TEXT, '$1…')

/** Logs go to stderr, so that stdout stays for data. */
export function createLog(
  level: LogLevel,
  stream: NodeJS.WriteStream & { fd: number } = process.stderr,
): Logger {
  const destination: DestinationStream = stream.isTTY
    ? pretty({
        destination: stream,
        ignore: 'pid,hostname,part',
        messageFormat: '{if part}{part}: {end}{msg}',
        sync: true,
      })
    : pino.destination({ fd: stream.fd, sync: true })
  return createLogTo(level, destination)
}

/** The same log into any destination. */
export function createLogTo(level: LogLevel, destination: DestinationStream): Logger {
  return pino(
    {
      level,
      redact: { paths: SECRET_NAMES.flatMap((name) => [name, `*.${name}`]), censor: '…' },
      formatters: { level: (label) => ({ level: label }) },
      timestamp: pino.stdTimeFunctions.isoTime,
      hooks: {
        logMethod(args, method) {
          const clean = args.map((arg: unknown) => (typeof arg === 'string' ? withoutSecrets(arg) : arg))
          method.apply(this, clean as Parameters<typeof method>)
        },
        streamWrite: withoutSecrets,
      },
    },
    destination,
  )
}

/** For engines that log as `(event, detail)`. */
export const asEventLog =
  (log: Logger) =>
  (event: string, detail: Readonly<Record<string, unknown>>): void =>
    log.debug(detail, event)
