type Failed = readonly Readonly<{ seed: number; found: string }>[]

/** Seeds that failed once, and what they found: `npm test` runs each of them for ever. */
export const failedOnce: Failed = [
  { seed: 15, found: 'a judge that took frames on their way after a cancel for ciphertext out unpaid' },
  { seed: 31, found: 'a cheap slow seller and a dear fast one that waited for each other' },
  { seed: 269, found: 'a payment that settled in time, and was heard of late' },
  { seed: 288, found: 'a budget for strangers that a cheat had used up' },
  { seed: 2012, found: 'a seller that was paid again after each lock that it had let run out' },
  { seed: 7366, found: 'a payment handed in again after a restart, that was taken for late from the start' },
  {
    seed: 23517,
    found: 'an honest seller with a slow wallet that was left for good after three locks that came late',
  },
  { seed: 31208, found: 'a judge that took a key for known which the buyer had met before a restart' },
  { seed: 31448, found: 'a judge that took for bought what a crash had kept from the disk' },
  {
    seed: 90554,
    found: 'a judge that took a key for a stranger which a purchase after a crash had made known again',
  },
  { seed: 21423, found: 'a judge that let a loss count before the buyer could have written it down' },
]

/** The same of `--wide`. */
export const failedWide: Failed = [
  { seed: 50012, found: 'a slow line whose owner blamed every seller for it' },
  { seed: 50056, found: 'pieces of 1 MiB over 20 KiB/s, asked of all at once again and again' },
  { seed: 61079, found: 'a cheap stranger without a budget left, that a dear friend waited for' },
  { seed: 61456, found: 'a line taken for fast, since each seller had had it to itself' },
  { seed: 61503, found: 'a slow line that had two of seven pieces in six hours' },
  { seed: 70165, found: 'quotes that had lapsed when their windows were out' },
  { seed: 80607, found: 'windows larger than their line brings in time, asked for again without end' },
  { seed: 700073, found: 'an honest seller that was left for good after three stalls' },
]

/** The same of `--tight`. */
export const failedTight: Failed = [
  { seed: 91075, found: 'a judge that counted fees before any was known' },
  { seed: 91128, found: 'a judge that counted a fee which a crash had kept from the books' },
]
