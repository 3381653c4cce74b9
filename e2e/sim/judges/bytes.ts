/** Nothing is stored that is not the release's. */
import type { Fact } from '../trace.ts'
import type { Charter, Cry, Judge } from './judge.ts'

export const same = (a: Uint8Array | undefined, b: Uint8Array): boolean => {
  if (a?.length !== b.length) return false
  for (let i = 0; i < b.length; i++) if (a[i] !== b[i]) return false
  return true
}

export class BytesJudge implements Judge {
  readonly #cry: Cry
  readonly #content: readonly Uint8Array[]

  constructor({ content }: Charter, cry: Cry) {
    this.#cry = cry
    this.#content = content
  }

  see(fact: Fact): void {
    if (fact.t === 'stored' && !same(this.#content[fact.piece], fact.bytes))
      this.#cry(`node ${fact.node} stored a piece ${fact.piece} that is not the release’s`)
  }
}
