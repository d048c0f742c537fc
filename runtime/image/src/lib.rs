//! Images of gateways for memory cards, made without root and without mounting anything, from Debian's packages.
//!
//! - [`lock`]: which packages, by version and SHA-256; [`mirror`]: which there are now;
//! - [`fetch`]: their files, in a cache; [`package`]: what is in them;
//! - [`modules`]: the drivers of a board; [`extra`]: what an image has only if asked, with its [`libraries`];
//!   [`initramfs`]: the root file system;
//! - [`loader`]: what starts the kernel; [`disk`]: partitions and file systems; [`build`]: all of it together;
//! - [`system`]: what of an image is an update of another; [`flash`]: an image onto a card.
//!
//! Nothing in an image depends on when, where or by whom it is made: the same inputs make the same bytes.

pub mod build;
pub mod disk;
mod error;
pub mod extra;
pub mod fetch;
pub mod flash;
pub mod initramfs;
pub mod libraries;
pub mod loader;
pub mod lock;
pub mod mirror;
pub mod modules;
pub mod package;
pub mod system;

pub use error::Error;

/// How far something long is.
pub trait Progress {
    /// Something begins; of so many bytes, if that is known, and 0 otherwise.
    fn begin(&self, what: &str, bytes: u64);
    /// So many bytes of it are done.
    fn at(&self, bytes: u64);
}
