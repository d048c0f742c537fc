//! Names of function interface version 1: what a module exports, imports and carries.

/// What `eyot_abi` returns.
pub const ABI_VERSION: i32 = 1;
/// Module name of every host import.
pub const IMPORT_MODULE: &str = "eyot";
/// Exported linear memory.
pub const EXPORT_MEMORY: &str = "memory";
/// `() -> i32`: the interface version.
pub const EXPORT_ABI: &str = "eyot_abi";
/// `(len: i32) -> i32`: room for one input.
pub const EXPORT_ALLOC: &str = "eyot_alloc";
/// `(topic_ptr, topic_len, payload_ptr, payload_len: i32) -> i32`: handles one message.
pub const EXPORT_HANDLE: &str = "eyot_handle";
/// `() -> i32`, optional: runs once before the memory snapshot.
pub const EXPORT_INIT: &str = "eyot_init";
/// `(from_major: i32) -> i32`, optional: changes the state that another major version has left behind.
pub const EXPORT_MIGRATE: &str = "eyot_migrate";
/// Custom section with the UTF-8 text of `function.toml`.
pub const SECTION_MANIFEST: &str = "eyot.manifest";

/// Largest module the gateway loads.
pub const MODULE_MAX_BYTES: usize = 8 << 20;
/// Longest log line; what is longer is cut at a character boundary.
pub const LOG_LINE_MAX_BYTES: usize = 1024;
/// Longest key of `state_*` and `config_get`.
pub const KEY_MAX_BYTES: usize = 256;
/// Largest message payload a function is given.
pub const PAYLOAD_MAX_BYTES: usize = 256 << 10;
