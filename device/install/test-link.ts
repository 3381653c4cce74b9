/** For tests: an install step in this process, asked in the same words as a real one. */
import type { InstallSettings } from './settings.ts'
import { openInstallStep, type InstallStep } from './step.ts'
import type { StepLink } from './step-link.ts'
import { answerSchema, questionSchema, readLine } from './step-messages.ts'

export function localLink(
  options: Readonly<{
    settings: InstallSettings
    nowMs: () => number
    builtAtS: number
    signal: AbortSignal
  }>,
): StepLink {
  let step: Promise<InstallStep> | undefined
  return {
    async ask(asked) {
      step ??= openInstallStep(options)
      const question = readLine(questionSchema, JSON.stringify({ ...asked, id: 1 }))
      if (question === undefined) throw new Error('This is no question.')
      const result = await (await step).answer(question)
      const answer = readLine(answerSchema, JSON.stringify({ id: 1, result }))
      if (answer === undefined) throw new Error('This is no answer.')
      return answer.result
    },
    close: () => Promise.resolve(),
  }
}
