//! Counts by reason with their number in front, so that a log outlives the day a reason is added.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::REASONS;

pub fn serialize<S: Serializer>(counts: &[u64; REASONS], s: S) -> Result<S::Ok, S::Error> {
    counts.as_slice().serialize(s)
}

pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u64; REASONS], D::Error> {
    let found = Vec::<u64>::deserialize(d)?;
    Ok(std::array::from_fn(|reason| found.get(reason).copied().unwrap_or(0)))
}
