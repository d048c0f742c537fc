//! Which version of a function may replace which.
//!
//! Versions go up. A push that someone recorded and sends again, or an older build, is refused, however well it is signed:
//! its signature is as good as on its first day. There is one way down, a rollback that is an act of its own: a signed
//! command, with a nonce and an expiry so that it cannot be recorded either, names the function and the SHA-256 of the
//! content to go back to. A section in the module would not do: it would be signed once, and good for ever.
//!
//! Content is identified without its signatures (see [`Module::content_sha256`](crate::verify::Module::content_sha256)),
//! so that adding one does not make an old push a new one.

use std::cmp::Ordering;

use semver::Version;
use thiserror::Error;

/// One build of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its version.
    pub version: Version,
    /// Its content.
    pub content_sha256: [u8; 32],
}

/// What a gateway remembers of a function.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What runs.
    pub active: Option<Release>,
    /// The highest version that ever ran, even if it was rolled back.
    pub highest: Option<Release>,
    /// What a signed rollback command that is still good names.
    pub rollback: Option<[u8; 32]>,
}

/// What becomes of a release that may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may replace what runs.
    Replaces,
    /// It is what runs: the same push again, which changes nothing.
    Unchanged,
}

/// Why a release may not come. The text has reason and remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReleaseError {
    /// An older version.
    #[error("is version {version}, older than {highest}; give it a higher version, or roll back by a signed command")]
    Older {
        /// Its version.
        version: Version,
        /// The highest that ever ran.
        highest: Version,
    },
    /// The version is that of another build.
    #[error("is version {version} like another build that ran before it; give it a higher version and build it again")]
    Taken {
        /// Its version.
        version: Version,
    },
    /// The very build that was rolled back.
    #[error(
        "is version {version}, which was rolled back; give it a higher version, or promote it by a signed command"
    )]
    RolledBack {
        /// Its version.
        version: Version,
    },
}

impl History {
    /// Whether `release` may come. What follows a `+` in versions does not count.
    ///
    /// # Errors
    /// It goes back in time, or takes the version of something else.
    pub fn admit(&self, release: &Release) -> Result<Admission, ReleaseError> {
        let is = |other: &Release| other.content_sha256 == release.content_sha256;
        if self.active.as_ref().is_some_and(is) {
            return Ok(Admission::Unchanged);
        }
        if self.rollback == Some(release.content_sha256) {
            return Ok(Admission::Replaces);
        }
        for known in self.highest.iter().chain(&self.active) {
            let version = release.version.clone();
            match release.version.cmp_precedence(&known.version) {
                Ordering::Greater => {}
                Ordering::Less => return Err(ReleaseError::Older { version, highest: known.version.clone() }),
                Ordering::Equal if is(known) => return Err(ReleaseError::RolledBack { version }),
                Ordering::Equal => return Err(ReleaseError::Taken { version }),
            }
        }
        Ok(Admission::Replaces)
    }
}
