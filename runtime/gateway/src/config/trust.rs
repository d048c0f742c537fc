//! `[trust]`: whose functions may be pushed here.

use eyot_trust::key::{KeyId, PublicKey};
use eyot_trust::limits::{KEYS_MAX, PATTERNS_MAX};
use eyot_trust::policy::{Expiry, Grant, Pattern, Policy, Role};

use super::section::{At, Reader, Section};

const MANY_KEYS: &str = "one too many; remove keys that are no longer used";

/// Reads the table; without it nobody is trusted.
pub fn read(reader: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Policy {
    let mut section = root.table(reader, "trust");
    let mut policy = Policy::default();
    for At { value, span } in section.strings(reader, "keys") {
        match PublicKey::parse(value) {
            Ok(key) => add(reader, &mut policy, &At { value: "trust.keys", span }, Grant::full(key)),
            Err(error) => reader.problem(&span, "trust.keys", format!("\"{}\" {error}", shown(value))),
        }
    }
    for mut table in section.tables(reader, "key") {
        let at = At { value: "trust.key.key", span: table.span_of("key") };
        if let Some(grant) = grant(reader, &mut table) {
            add(reader, &mut policy, &at, grant);
        }
        table.finish(reader);
    }
    for At { value, span } in section.strings(reader, "revoked") {
        let id = value.trim().parse::<KeyId>().or_else(|_| PublicKey::parse(value).map(|key| key.id()));
        match id {
            Ok(_) if policy.revoked.len() == KEYS_MAX => reader.problem(&span, "trust.revoked", MANY_KEYS),
            Ok(id) => policy.revoked.push(id),
            Err(_) => {
                let remedy = "is neither a public key nor a key's id; write what `eyot keys show` prints of it";
                reader.problem(&span, "trust.revoked", format!("\"{}\" {remedy}", shown(value)));
            }
        }
    }
    policy.allow_unsigned = section.boolean(reader, "allow_unsigned").unwrap_or(false);
    if section.is_present() && policy.grants.is_empty() && !policy.allow_unsigned {
        let reason = "trusts nobody, so that no function can be pushed; list keys, or remove the table";
        reader.warning(section.span(), "trust", reason);
    }
    section.finish(reader);
    policy
}

/// Trusts one more key.
fn add(reader: &mut Reader<'_>, policy: &mut Policy, at: &At<&str>, grant: Grant) {
    if policy.grants.len() == KEYS_MAX {
        reader.problem(&at.span, at.value, MANY_KEYS);
    } else if policy.grants.iter().any(|other| other.key == grant.key) {
        reader.problem(&at.span, at.value, format!("{} is there twice; remove one of them", grant.key));
    } else {
        policy.grants.push(grant);
    }
}

/// Reads one `[[trust.key]]`; whatever is wrong with it, all of it is told.
fn grant(reader: &mut Reader<'_>, table: &mut Section<'_, '_>) -> Option<Grant> {
    let key = match table.string(reader, "key") {
        Some(At { value, span }) => match PublicKey::parse(value) {
            Ok(key) => Some(key),
            Err(error) => {
                reader.problem(&span, "trust.key.key", format!("\"{}\" {error}", shown(value)));
                None
            }
        },
        None => {
            reader.problem(&table.span().clone(), "trust.key.key", "is missing; write the line of a .pub file");
            None
        }
    };
    let expires = table.parsed(reader, "expires", None, |text| match Expiry::parse(text) {
        Some(expiry) => Ok(Some(expiry)),
        None => Err("is not a date; write \"2027-01-01\" or \"2027-01-01T12:00:00Z\", in UTC".to_owned()),
    });
    let roles = list(reader, table, "roles", "no role; write \"push\", \"command\" or \"update\"", Role::parse);
    let functions =
        list(reader, table, "functions", "no function's name; write \"celsius\" or \"lab-*\"", Pattern::parse);
    let mut grant = Grant { expires, ..Grant::full(key?) };
    // A system can do all that no function can: who may replace it is always said.
    grant.roles = roles.unwrap_or_else(|| vec![Role::Push, Role::Command]);
    grant.functions = functions.unwrap_or(grant.functions);
    Some(grant)
}

/// A list that bounds what a key may do; `None` if it is not there. An empty one is an error: it could be meant to forbid
/// everything, or nothing.
fn list<T>(
    reader: &mut Reader<'_>,
    table: &mut Section<'_, '_>,
    key: &'static str,
    wrong: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<Vec<T>> {
    if !table.has(key) {
        table.strings(reader, key);
        return None;
    }
    let entries = table.strings(reader, key);
    let name = format!("trust.key.{key}");
    let span = table.span_of(key);
    if entries.is_empty() {
        reader.problem(&span, &*name, "has no entry; leave it out if the key is not bounded in this");
    } else if entries.len() > PATTERNS_MAX {
        reader.problem(&span, &*name, format!("has {} entries; at most {PATTERNS_MAX}", entries.len()));
    }
    let mut values = Vec::new();
    for At { value, span } in entries {
        match parse(value) {
            Some(value) => values.push(value),
            None => reader.problem(&span, &*name, format!("\"{}\" is {wrong}", shown(value))),
        }
    }
    Some(values)
}

/// The beginning of a value, for messages.
fn shown(value: &str) -> String {
    let mut shown: String = value.chars().filter(|c| !c.is_control()).take(24).collect();
    if value.chars().nth(24).is_some() {
        shown.push('…');
    }
    shown
}
