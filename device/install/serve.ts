/** The install step's end of a connection: questions are read one after the other, each answered before the next is read. */
import type { Readable, Writable } from 'node:stream'
import type { InstallStep } from './step.ts'
import { linesOf, questionSchema, readLine } from './step-messages.ts'

/** Resolves when the other end is gone, or said something that is no question: then nothing more of it is read. */
export async function serve(
  step: InstallStep,
  lines: AsyncIterable<string>,
  output: Writable,
): Promise<'ended' | 'not-a-question'> {
  for await (const line of lines) {
    const question = readLine(questionSchema, line)
    if (question === undefined) return 'not-a-question'
    const result = await step.answer(question)
    if (!output.writable) return 'ended'
    output.write(`${JSON.stringify({ id: question.id, result })}\n`)
  }
  return 'ended'
}

export const serveStream = (step: InstallStep, input: Readable, output: Writable): ReturnType<typeof serve> =>
  serve(step, linesOf(input), output)
