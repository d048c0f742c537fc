//! What can go wrong, each with the thing, the reason and the remedy.

use std::fmt::Display;
use std::io;
use std::path::Path;

use thiserror::Error as ThisError;

/// Why there is no image, or no card.
#[derive(Debug, ThisError)]
pub enum Error {
    /// A lock file cannot be used.
    #[error("{file}: {reason}; write it anew with eyot image lock")]
    Lock {
        /// Which.
        file: String,
        /// Why not.
        reason: String,
    },
    /// A lock file lacks what a board asks for.
    #[error("{wanted}: not in the lock file; add it with eyot image lock")]
    NotLocked {
        /// What.
        wanted: String,
    },
    /// The mirror does not have a file any more.
    #[error("{url}: {reason}; Debian has replaced this version: renew the lock file with eyot image lock, or name a mirror that keeps old ones with --mirror (http://snapshot.debian.org/archive/debian/DATE)")]
    Gone {
        /// Which.
        url: String,
        /// What the server said.
        reason: String,
    },
    /// Something did not come.
    #[error("{url}: {reason}; check the network and try again: what has come is kept")]
    Download {
        /// What.
        url: String,
        /// Why not.
        reason: String,
    },
    /// Something else came.
    #[error("{url}: {reason}; the mirror or the way to it cannot be trusted, use another with --mirror")]
    NotIt {
        /// Where from.
        url: String,
        /// What is different.
        reason: String,
    },
    /// A package is not what it should be.
    #[error("{package}: {reason}; name another version of it in the lock file")]
    Package {
        /// Which.
        package: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A program of the host is missing or fails.
    #[error("{program}: {reason}; install the Debian package {package}")]
    Program {
        /// Which.
        program: &'static str,
        /// What it said.
        reason: String,
        /// What it is in.
        package: &'static str,
    },
    /// A file or device of the user.
    #[error("{path}: {reason}; {remedy}")]
    File {
        /// Which.
        path: String,
        /// What is wrong.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file is no image.
    #[error("{path}: {reason}; name one made by this version's eyot image build")]
    NoImage {
        /// Which.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A country of which the kernel would not know what its radio may do.
    #[error("--wifi-country {country}: Debian's wireless-regdb has no rules for it; give the two capital letters of ISO 3166, such as DE, or GB for the United Kingdom")]
    NoCountry {
        /// Which.
        country: String,
    },
    /// The image has no room for something.
    #[error("{what}: {bytes} bytes do not fit into {room} bytes; leave something out")]
    TooLarge {
        /// What.
        what: String,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        room: u64,
    },
    /// A device must not be overwritten.
    #[error("{device}: {reason}; {remedy}")]
    Refused {
        /// Which.
        device: String,
        /// Why not.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
}

impl Error {
    pub(crate) fn lock(file: &Path, reason: impl Display) -> Self {
        Self::Lock { file: file.display().to_string(), reason: reason.to_string() }
    }

    pub(crate) fn package(package: impl Display, reason: impl Display) -> Self {
        Self::Package { package: package.to_string(), reason: reason.to_string() }
    }

    pub(crate) fn file(path: &Path, error: &io::Error, remedy: &'static str) -> Self {
        Self::File { path: path.display().to_string(), reason: error.to_string(), remedy }
    }

    /// Whether what the user gave is at fault, and not the world.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Lock { .. } | Self::NotLocked { .. } | Self::TooLarge { .. } => true,
            Self::NoImage { .. } | Self::NoCountry { .. } | Self::Refused { .. } => true,
            Self::Gone { .. } | Self::Download { .. } | Self::NotIt { .. } | Self::Package { .. } => false,
            Self::Program { .. } | Self::File { .. } => false,
        }
    }
}
