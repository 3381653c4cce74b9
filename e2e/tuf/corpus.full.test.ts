import { corpus } from './corpus-suite.ts'

corpus(1, 600, 20 * 60_000)
