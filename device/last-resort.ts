/** What nobody caught ends the process, but never without a word: a supervisor starts it again, and its log says why. */
import { withoutSecrets } from './log.ts'

/** Logs an uncaught error or rejection and exits with 1. */
export function installLastResort(): void {
  const end = (error: unknown): never => {
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error)
    process.stderr.write(
      withoutSecrets(`satpatch: stopped by an unexpected error; what is on disk is kept. ${what}\n`),
    )
    process.exit(1)
  }
  process.on('uncaughtException', end)
  process.on('unhandledRejection', end)
}
