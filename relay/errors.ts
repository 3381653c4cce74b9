/** Why the relay does not start. The message says what happened, what to do and what is not lost. */
export type StartErrorCode =
  | 'port-in-use'
  | 'port-forbidden'
  | 'address-unknown'
  | 'data-unwritable'
  | 'data-in-use'
  | 'data-damaged'
  | 'tls-unreadable'
  | 'bad-setting'
  | 'lightning'

export class StartError extends Error {
  override readonly name = 'StartError'
  readonly code: StartErrorCode
  constructor(code: StartErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Node's error code (`ENOENT`), where there is one. */
export const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
