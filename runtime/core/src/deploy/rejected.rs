//! Versions that were taken back or rejected before the last one that was. A broker that retains a push of one of them delivers
//! it with each connection, and it is not to be tried with each.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::deploy::registry::Entry;

/// Most versions of one function that are remembered beside the last.
pub const EARLIER_MAX: usize = 8;
/// The same of all functions together: the oldest is forgotten first.
pub const EARLIER_ALL_MAX: usize = 128;

/// One of them. Its module is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rejected {
    function: String,
    /// SHA-256 of its module without signatures.
    content_sha256: [u8; 32],
    reason: String,
}

/// All of them, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier(VecDeque<Rejected>);

impl Earlier {
    /// What is known of a function changes. What it had as taken back last is remembered if that is another version now, and
    /// forgotten with the function, or when it is in force after all.
    pub(crate) fn follow(&mut self, function: &str, before: Option<&Entry>, after: Option<&Entry>) {
        let Some(active) = after.and_then(|entry| entry.active.as_ref()) else {
            return self.0.retain(|known| known.function != function);
        };
        let last = |entry: Option<&Entry>| entry.and_then(|entry| entry.taken_back.clone());
        if let Some(back) = last(before).filter(|back| last(after).is_none_or(|last| last.build != back.build)) {
            self.forget(function, &back.build.content_sha256);
            let (content_sha256, reason) = (back.build.content_sha256, back.reason);
            self.0.push_back(Rejected { function: function.to_owned(), content_sha256, reason });
        }
        self.forget(function, &active.content_sha256);
        while self.0.iter().filter(|known| known.function == function).count() > EARLIER_MAX {
            let oldest = self.0.iter().position(|known| known.function == function);
            oldest.and_then(|index| self.0.remove(index));
        }
        while self.0.len() > EARLIER_ALL_MAX {
            self.0.pop_front();
        }
    }

    fn forget(&mut self, function: &str, content_sha256: &[u8; 32]) {
        self.0.retain(|known| known.function != function || known.content_sha256 != *content_sha256);
    }

    /// Why a version was taken back or rejected, if it is one of them.
    pub fn reason(&self, function: &str, content_sha256: &[u8; 32]) -> Option<&str> {
        let is_it = |known: &&Rejected| known.function == function && known.content_sha256 == *content_sha256;
        self.0.iter().find(is_it).map(|known| known.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::registry::Build;

    fn build(number: u8) -> Build {
        let version = format!("1.{number}.0").parse().unwrap();
        Build { version, sha256: [number; 32], content_sha256: [number; 32] }
    }

    /// `numbers` are rejected one after the other.
    fn rejected(earlier: &mut Earlier, function: &str, numbers: impl Iterator<Item = u8>) -> Entry {
        let mut entry = Entry::of(build(0));
        for number in numbers {
            let before = entry.clone();
            entry.reject(&build(number), &format!("why {number}"));
            earlier.follow(function, Some(&before), Some(&entry));
        }
        entry
    }

    #[test]
    fn so_many_are_remembered_of_one_function_and_of_all() {
        let mut earlier = Earlier::default();
        rejected(&mut earlier, "f", 1..12);
        // The last is in the entry, with its module.
        let known: Vec<u8> = (1..12).filter(|n| earlier.reason("f", &[*n; 32]).is_some()).collect();
        assert_eq!(known, (3..11).collect::<Vec<_>>());
        assert_eq!(earlier.reason("f", &[4; 32]), Some("why 4"));
        assert_eq!(earlier.reason("g", &[4; 32]), None);
        for other in 0..20 {
            rejected(&mut earlier, &format!("g{other}"), 1..12);
        }
        assert_eq!((earlier.0.len(), earlier.reason("f", &[4; 32])), (EARLIER_ALL_MAX, None));
    }

    #[test]
    fn what_is_in_force_after_all_is_forgotten_and_all_with_the_function() {
        let mut earlier = Earlier::default();
        let entry = rejected(&mut earlier, "f", 1..4);
        let mut promoted = entry.clone();
        promoted.advance(build(3));
        earlier.follow("f", Some(&entry), Some(&promoted));
        assert_eq!((earlier.reason("f", &[3; 32]), earlier.reason("f", &[2; 32])), (None, Some("why 2")));
        let mut other = promoted.clone();
        other.advance(build(2));
        earlier.follow("f", Some(&promoted), Some(&other));
        assert_eq!((earlier.reason("f", &[2; 32]), earlier.reason("f", &[1; 32])), (None, Some("why 1")));
        let gone = Entry { highest: other.highest.clone(), ..Entry::default() };
        earlier.follow("f", Some(&other), Some(&gone));
        assert_eq!(earlier, Earlier::default());
    }
}
