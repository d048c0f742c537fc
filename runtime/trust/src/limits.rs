//! Bounds. At each of them the input is refused, by name.

/// Largest signature section.
pub const HEADER_MAX_BYTES: usize = 16 << 10;
/// Most sets of signed hashes in a module; each can have several signatures.
pub const SETS_MAX: usize = 16;
/// Most hashes in a set; more than one stands for a module signed in parts.
pub const HASHES_MAX: usize = 64;
/// Most signatures in a module, all sets together.
pub const SIGNATURES_MAX: usize = 32;
/// Most bytes of a public key's text or file.
pub const KEY_TEXT_MAX_BYTES: usize = 4096;
/// Most characters kept of a key's comment.
pub const COMMENT_MAX_CHARS: usize = 64;
/// Most keys a policy trusts, and most it revokes.
pub const KEYS_MAX: usize = 1024;
/// Longest time from now until a command expires, in seconds: 30 days. Until then its nonce is remembered.
pub const ORDER_VALID_MAX_S: u64 = 30 * 24 * 3600;
/// Most name patterns of one key.
pub const PATTERNS_MAX: usize = 64;
