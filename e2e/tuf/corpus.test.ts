/** A small part of the corpus; the whole is in `corpus.full.test.ts`. */
import { corpus } from './corpus-suite.ts'

corpus(1, 24, 120_000)
