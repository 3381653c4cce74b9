/** Every case against the command as people start it, a process each time. */
import { asProcess } from './client.ts'
import { conformance } from './conformance-suite.ts'

conformance(asProcess, true)
