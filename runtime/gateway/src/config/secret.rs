//! Secrets, which come from files or the environment and never stand in `gateway.toml`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::read::Walk;
use super::section::{At, Section};
use crate::file::read_text;

/// Longest secret.
pub const SECRET_MAX_BYTES: usize = 4096;
/// Longest user name: some clouds put a signed query there.
pub const USERNAME_MAX_BYTES: usize = 4096;

/// Where a secret is; what it says is never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// In a file, which may be renewed while the gateway runs.
    File(PathBuf),
    /// From the environment, as it was at the start.
    Value(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "Secret({})", path.display()),
            Self::Value(_) => f.write_str("Secret"),
        }
    }
}

impl Secret {
    /// What it says now.
    ///
    /// # Errors
    /// Why it cannot be read, and what to do.
    pub fn read(&self) -> Result<String, String> {
        match self {
            Self::File(path) => read_file(path),
            Self::Value(value) => Ok(value.clone()),
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let text = read_text(path, 2 * SECRET_MAX_BYTES)
        .map_err(|e| format!("cannot read {shown}: {e}; check path and permissions"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.len() > SECRET_MAX_BYTES {
        return Err(format!("{shown} holds no secret of 1 to {SECRET_MAX_BYTES} bytes; write it there"));
    }
    Ok(secret.to_owned())
}

/// The keys of one secret: where it must not stand, its file, its variable.
pub(super) struct Keys(pub &'static str, pub &'static str, pub &'static str);

/// A password.
pub(super) const PASSWORD: Keys = Keys("password", "password_file", "password_env");

/// A secret in the configuration.
pub(super) struct Found {
    pub secret: Secret,
    /// The key that names it.
    pub at: std::ops::Range<usize>,
}

impl Walk<'_> {
    /// Looks for one secret and reads it once, so that a missing one is found before the gateway starts. An error is
    /// noted; `Ok(None)` if there is none.
    pub fn secret(&mut self, section: &mut Section<'_, '_>, keys: &Keys) -> Result<Option<Found>, ()> {
        let Keys(inline, in_file, in_env) = *keys;
        let r = &mut self.reader;
        let file = section.string(r, in_file);
        let variable = section.string(r, in_env);
        let remedy = || format!("secrets are never inline; put it in a file and write {in_file}, or use {in_env}");
        if section.refuse(r, inline, remedy) {
            return Err(());
        }
        let (key, at, secret) = match (file, variable) {
            (None, None) => return Ok(None),
            (Some(at), None) => (in_file, at.span, Ok(Secret::File(self.base.join(at.value)))),
            (None, Some(At { value, span })) => {
                let missing = |_| format!("the environment has no variable \"{value}\"; set it or use {in_file}");
                (in_env, span, std::env::var(value).map(Secret::Value).map_err(missing))
            }
            (Some(_), Some(at)) => (in_env, at.span, Err(format!("stands beside {in_file}; remove one of them"))),
        };
        match secret.and_then(|secret| secret.read().map(|_| secret)) {
            Ok(secret) => Ok(Some(Found { secret, at })),
            Err(reason) => {
                r.problem(&at, section.key(key), reason);
                Err(())
            }
        }
    }

    /// User name and password.
    pub fn login(&mut self, section: &mut Section<'_, '_>) -> Option<(String, String)> {
        let username = section.string(&mut self.reader, "username");
        if let Some(At { value, span }) = &username {
            if value.is_empty() || value.len() > USERNAME_MAX_BYTES || value.chars().any(char::is_control) {
                let remedy = format!("is no user name; write 1 to {USERNAME_MAX_BYTES} printable characters");
                self.reader.problem(span, section.key("username"), remedy);
            }
        }
        let found = self.secret(section, &PASSWORD).ok()?;
        match (username, found) {
            (Some(username), found) => {
                let password = found.and_then(|found| found.secret.read().ok()).unwrap_or_default();
                Some((username.value.to_owned(), password))
            }
            (None, Some(found)) => {
                let remedy = "is missing beside a password; name the user";
                self.reader.problem(&found.at, section.key("username"), remedy);
                None
            }
            (None, None) => None,
        }
    }
}
