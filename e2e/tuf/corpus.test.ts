/** A small part of the corpus; the whole is in `corpus.full.test.ts`. */
import { corpus } from './corpus-suite.ts'

corpus(1, 12, 120_000)
