/** Every case against the command as people start it, a process each time. */
import { vi } from 'vitest'
import { asProcess } from './client.ts'
import { conformance } from './conformance-suite.ts'

// Up to thirty processes a case, on a machine that may be busy.
vi.setConfig({ testTimeout: 5 * 60_000 })
conformance(asProcess, true)
