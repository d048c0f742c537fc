//! What each key is trusted with, and whether that suffices to push a module.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eyot_wire::manifest::is_name;

use crate::key::{KeyId, PublicKey};
use crate::verify::{Fit, Module};

/// Unix time before which a clock counts as not set: 2025-01-01. A box without a battery begins in 1970.
pub const CLOCK_SET_FROM_S: u64 = 1_735_689_600;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Push functions.
    Push,
    /// Sign commands.
    Command,
    /// Replace the system of a gateway that was flashed.
    Update,
}

impl Role {
    /// Reads a role; `None` if there is none of that name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "push" => Some(Self::Push),
            "command" => Some(Self::Command),
            "update" => Some(Self::Update),
            _ => None,
        }
    }
}

/// Names of functions: one, or all that begin alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Reads `celsius`, `lab-*` or `*`; `None` if no function could be called so.
    pub fn parse(text: &str) -> Option<Self> {
        let stem = text.strip_suffix('*');
        let is_pattern = stem == Some("") || is_name(stem.unwrap_or(text));
        is_pattern.then(|| Self(text.to_owned()))
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(stem) => name.starts_with(stem),
            None => self.0 == name,
        }
    }
}

/// A moment, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry(
    /// Unix time in seconds; at this second the key is no longer good.
    pub u64,
);

impl Expiry {
    /// Reads `2027-01-01`, the beginning of that day, or `2027-01-01T12:00:00Z`; `None` if it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let is_date = text.len() == "2027-01-01".len();
        let time = if is_date {
            humantime::parse_rfc3339(&format!("{text}T00:00:00Z"))
        } else {
            humantime::parse_rfc3339(text)
        };
        Some(Self(time.ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs()))
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNIX_EPOCH.checked_add(Duration::from_secs(self.0)) {
            Some(time) if self.0 <= YEAR_9999_S => fmt::Display::fmt(&humantime::format_rfc3339_seconds(time), f),
            _ => write!(f, "Unix time {}", self.0),
        }
    }
}

/// The last second that the date format can show.
const YEAR_9999_S: u64 = 253_402_300_799;

/// Seconds since 1970, of a clock that may not be set.
pub fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A trusted key, and what it is trusted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The key.
    pub key: PublicKey,
    /// Until when.
    pub expires: Option<Expiry>,
    /// For what.
    pub roles: Vec<Role>,
    /// For which functions.
    pub functions: Vec<Pattern>,
}

impl Grant {
    /// The key, for everything and without end.
    pub fn full(key: PublicKey) -> Self {
        Self {
            key,
            expires: None,
            roles: vec![Role::Push, Role::Command, Role::Update],
            functions: vec![Pattern("*".to_owned())],
        }
    }
}

/// Whom a gateway trusts; by default nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Trusted keys.
    pub grants: Vec<Grant>,
    /// Keys that are trusted no more, whatever `grants` says.
    pub revoked: Vec<KeyId>,
    /// Whether a module without any trusted signature may be pushed.
    pub allow_unsigned: bool,
}

/// Why a signature that a trusted or revoked key made, or seems to have made, is not enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It does not fit the module.
    Altered,
    /// The key is revoked.
    Revoked,
    /// The key is no longer good.
    Expired(Expiry),
    /// The key expires, and nobody knows what time it is.
    ClockNotSet(Expiry),
    /// The key may not push.
    NotForPush,
    /// The key may not push this function.
    NotForFunction(String),
}

/// Why a module may not be pushed. The text has reasons and remedies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no signature.
    Unsigned,
    /// Only strangers signed it; their key ids, as far as their signatures have one.
    Strangers(Vec<String>),
    /// Keys that are known here, and what is wrong with each.
    NotEnough(Vec<(String, Reason)>),
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str("is not signed; sign it with `eyot sign`"),
            Self::Strangers(ids) if ids.is_empty() => {
                f.write_str("has no signature that names its key; sign it with `eyot sign`")
            }
            Self::Strangers(ids) => write!(
                f,
                "is signed by no key that is trusted here, but by {}; sign it with a trusted one, or add the public key \
                 to [trust]",
                ids.join(", ")
            ),
            Self::NotEnough(reasons) => {
                for (index, (key, reason)) in reasons.iter().enumerate() {
                    let between = if index == 0 { "" } else { "; and " };
                    write!(f, "{between}{}", reason.text(key))?;
                }
                Ok(())
            }
        }
    }
}

impl Reason {
    fn text(&self, key: &str) -> String {
        match self {
            Self::Altered => {
                format!("was altered after {key} signed it, or was signed only in part; get it again, or sign it anew")
            }
            Self::Revoked => format!("is signed by {key}, which is revoked; sign it with another key"),
            Self::Expired(at) => {
                format!("is signed by {key}, which expired at {at}; sign it with another key, or set a later `expires`")
            }
            Self::ClockNotSet(at) => format!(
                "is signed by {key}, which expires at {at}, and this machine's clock is not set; set it and try again"
            ),
            Self::NotForPush => {
                format!("is signed by {key}, which may not push; sign it with another key, or add \"push\" to its `roles`")
            }
            Self::NotForFunction(name) => format!(
                "is signed by {key}, which may not push \"{name}\"; sign it with another key, or add it to its `functions`"
            ),
        }
    }
}

impl Policy {
    /// Whether `module` may be pushed at `now_s`, Unix time in seconds; if so, the keys that vouch for it, none only if
    /// unsigned modules are allowed. One key that is good for it suffices, and strangers do not matter.
    ///
    /// # Errors
    /// Nobody who may push it signed it; the error has every key that is known here.
    pub fn check_push<'p>(&'p self, module: &Module<'_>, now_s: u64) -> Result<Vec<&'p PublicKey>, Refusal> {
        let (mut vouch, mut reasons) = (Vec::new(), Vec::new());
        let claimed = module.claimed_ids();
        for grant in &self.grants {
            let id = grant.key.id();
            if !claimed.contains(&id.to_string()) {
                continue;
            }
            match self.judge(grant, id, module, now_s) {
                None => vouch.push(&grant.key),
                Some(reason) => reasons.push((grant.key.to_string(), reason)),
            }
        }
        for id in self.revoked.iter().map(KeyId::to_string) {
            let is_known = self.grants.iter().any(|grant| grant.key.id().to_string() == id);
            if claimed.contains(&id) && !is_known {
                reasons.push((id, Reason::Revoked));
            }
        }
        if !vouch.is_empty() {
            Ok(vouch)
        } else if !reasons.is_empty() {
            Err(Refusal::NotEnough(reasons))
        } else if self.allow_unsigned {
            Ok(vouch)
        } else if module.is_signed() {
            Err(Refusal::Strangers(claimed))
        } else {
            Err(Refusal::Unsigned)
        }
    }

    fn judge(&self, grant: &Grant, id: KeyId, module: &Module<'_>, now_s: u64) -> Option<Reason> {
        let name = &module.manifest().name;
        if self.revoked.contains(&id) {
            return Some(Reason::Revoked);
        }
        if module.fit(&grant.key) != Fit::Signed {
            return Some(Reason::Altered);
        }
        match grant.expires {
            Some(at) if now_s < CLOCK_SET_FROM_S => return Some(Reason::ClockNotSet(at)),
            Some(at) if now_s >= at.0 => return Some(Reason::Expired(at)),
            _ => {}
        }
        if !grant.roles.contains(&Role::Push) {
            return Some(Reason::NotForPush);
        }
        let is_allowed = grant.functions.iter().any(|pattern| pattern.matches(name));
        (!is_allowed).then(|| Reason::NotForFunction(name.clone()))
    }
}
