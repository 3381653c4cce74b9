/** Preloaded into a process under test (`node --import`): its clock is off by the milliseconds that a file holds. */
import fs from 'node:fs'

const file = process.env['CLOCK_OFFSET_FILE'] ?? ''
const RealDate = Date
let offsetMs = read()
function read(): number {
  return Number(fs.readFileSync(file, 'utf8'))
}
setInterval(() => (offsetMs = read()), 100).unref()

class OffDate extends RealDate {
  constructor(...given: unknown[]) {
    if (given.length === 0) super(RealDate.now() + offsetMs)
    else super(...(given as [number]))
  }
  static override now(): number {
    return RealDate.now() + offsetMs
  }
}
globalThis.Date = OffDate as DateConstructor
