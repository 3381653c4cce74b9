/** All chance of a run: sfc32 from one seed, and independent streams by name, so that one more draw here moves nothing there. */

export class Random {
  #a: number
  #b: number
  #c: number
  #d: number
  readonly #name: string

  constructor(name: string) {
    this.#name = name
    // cyrb128: four words of a text.
    let [h1, h2, h3, h4] = [1779033703, 3144134277, 1013904242, 2773480762]
    for (let i = 0; i < name.length; i++) {
      const k = name.charCodeAt(i)
      h1 = h2 ^ Math.imul(h1 ^ k, 597399067)
      h2 = h3 ^ Math.imul(h2 ^ k, 2869860233)
      h3 = h4 ^ Math.imul(h3 ^ k, 951274213)
      h4 = h1 ^ Math.imul(h4 ^ k, 2716044179)
    }
    this.#a = h1 | 0
    this.#b = h2 | 0
    this.#c = h3 | 0
    this.#d = h4 | 0
    for (let i = 0; i < 12; i++) this.u32()
  }

  stream(name: string): Random {
    return new Random(`${this.#name}/${name}`)
  }

  u32(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#d) | 0
    this.#d = (this.#d + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }
  /** 0 <= x < 1 */
  unit(): number {
    return this.u32() / 2 ** 32
  }
  /** 0 <= n < below */
  below(below: number): number {
    return Math.floor(this.unit() * below)
  }
  /** Both ends included. */
  whole(from: number, to: number): number {
    return from + this.below(to - from + 1)
  }
  between(from: number, to: number): number {
    return from + this.unit() * (to - from)
  }
  /** As likely in each decade. */
  scale(from: number, to: number): number {
    return from * (to / from) ** this.unit()
  }
  chance(probability: number): boolean {
    return this.unit() < probability
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }
  bytes(count: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(count)
    for (let i = 0; i < count; i += 4) {
      const word = this.u32()
      for (let j = i; j < Math.min(i + 4, count); j++) bytes[j] = word >>> (8 * (j - i))
    }
    return bytes
  }
  shuffle<T>(list: T[]): T[] {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.below(i + 1)
      const swap = list[i] as T
      list[i] = list[j] as T
      list[j] = swap
    }
    return list
  }
}
