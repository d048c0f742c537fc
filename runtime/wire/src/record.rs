//! The commit record.
