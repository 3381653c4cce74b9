/** What can go wrong with the disk, in words for the person who owns it. */

export type StorageErrorCode = 'disk-full' | 'not-writable' | 'missing' | 'io'

export class StorageError extends Error {
  readonly code: StorageErrorCode
  constructor(code: StorageErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'StorageError'
    this.code = code
  }
}

export const errnoOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined

/** Turns a Node error into words; the path is the owner's own. */
export function storageError(error: unknown, path: string): StorageError {
  if (error instanceof StorageError) return error
  switch (errnoOf(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new StorageError(
        'disk-full',
        `The disk that holds ${path} is full. Free some space; what was bought is kept.`,
        { cause: error },
      )
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new StorageError(
        'not-writable',
        `${path} cannot be written. Check its owner and that the disk is mounted for writing.`,
        { cause: error },
      )
    case 'EEXIST':
    case 'ENOTDIR':
      return new StorageError(
        'not-writable',
        `A file stands where the directory ${path} should be. Move it, or set another data directory.`,
        { cause: error },
      )
    case 'ENOENT':
      return new StorageError('missing', `${path} is not there.`, { cause: error })
    default:
      return new StorageError(
        'io',
        `${path} could not be read or written: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      )
  }
}
