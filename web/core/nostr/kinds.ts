/** Event kinds. Ours are documented in ARCHITECTURE.md "Nostr events"; the others by their NIP. */
/** NIP-82 release, addressable, by the vendor: `d` = `product@version`, `i` = vendor id, `targets` = TUF targets version, `x` = SHA-256, `status` = live | withdrawn. */
export const RELEASE = 30063
/** A seller's standing price, addressable, NIP-40 expiry: `d` = info-hash. */
export const OFFER = 31890
/** A device's state for one release, addressable: `d` = vendor id, `p` = vendor; content is NIP-44 to the vendor: `Progress`. */
export const PROGRESS = 31891
/** The vendor's list of enrolled devices, addressable, NIP-44 to itself: `Roster`. */
export const ROSTER = 31892
/** A fraud proof, regular: `p` = accused key, `i` = vendor id, `d` = info-hash; content is the proof, base64. */
export const FRAUD_PROOF = 1892
/** Rumours inside NIP-59 gift wraps. */
export const REPORT = 1893
export const REPORT_ADDENDUM = 1894
export const JOIN_REQUEST = 1895
export const JOIN_ACCEPT = 1896
/** A shop's list, addressable by the shop: `d` = `store`, NIP-40 expiry; content is NIP-44 to its visitors' key: `Listing`. */
export const STORE = 31894
/** Between a shop and a buyer, ephemeral: `p` = addressee; content is NIP-44: `ToShop` or `ToBuyer`. */
export const STORE_TALK = 21894
/** NIP-32 label, namespace `satpatch`: a device's public word on a release. */
export const ATTESTATION = 1985
/** NIP-59. */
export const GIFT_WRAP = 1059
/** NIP-98. */
export const HTTP_AUTH = 27235
/** NIP-47. */
export const NWC_INFO = 13194
export const NWC_REQUEST = 23194
export const NWC_RESPONSE = 23195
export const NWC_NOTIFICATION_NIP04 = 23196
export const NWC_NOTIFICATION = 23197
