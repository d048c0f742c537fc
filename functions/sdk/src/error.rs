//! What a handler fails with.

use core::fmt;

/// Why a message was not handled, as the number that `eyot_handle` returns. None of the message's effects happen, and
/// it goes to the dead letters with this number.
///
/// Negative numbers are the host's, 1 to 15 are the sdk's, from 16 on they are the function's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(i32);

impl Error {
    /// The host has no such key.
    pub const NOT_FOUND: Self = Self(-1);
    /// The manifest does not permit it, or not while the function starts.
    pub const NOT_ALLOWED: Self = Self(-2);
    /// A limit of the manifest or the gateway would be exceeded.
    pub const OVER_LIMIT: Self = Self(-3);
    /// Bytes that are not UTF-8, or not a topic.
    pub const BAD_POINTER: Self = Self(-4);
    /// The payload is not what the function expects.
    pub const MALFORMED: Self = Self(1);
    /// A value in the state has another format, such as that of another version of the function.
    pub const BAD_STATE: Self = Self(2);
    /// A value in the configuration cannot be read as what it should be.
    pub const BAD_CONFIG: Self = Self(3);
    /// A value cannot be encoded: a number that JSON lacks, a type that postcard lacks.
    pub const NOT_ENCODABLE: Self = Self(4);
    /// Smallest code a function may define for itself.
    pub const OWN_MIN: i32 = 16;

    /// An error of the function's own: `const TOO_OLD: Error = Error::own(16);`.
    ///
    /// # Panics
    /// When `code` is below [`OWN_MIN`](Self::OWN_MIN); in a constant, the build fails.
    pub const fn own(code: i32) -> Self {
        assert!(code >= Self::OWN_MIN, "a function's own codes start at Error::OWN_MIN");
        Self(code)
    }

    /// The number, never 0.
    pub const fn code(self) -> i32 {
        self.0
    }

    /// The answer of a host call: a length or 0, or an error below 0.
    pub(crate) fn check(answer: i32) -> Result<usize, Self> {
        usize::try_from(answer).map_err(|_| Self(answer))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NOT_FOUND => f.write_str("not found"),
            Self::NOT_ALLOWED => f.write_str("not allowed"),
            Self::OVER_LIMIT => f.write_str("over a limit"),
            Self::BAD_POINTER => f.write_str("not UTF-8 or not a topic"),
            Self::MALFORMED => f.write_str("malformed payload"),
            Self::BAD_STATE => f.write_str("state has another format"),
            Self::BAD_CONFIG => f.write_str("malformed configuration value"),
            Self::NOT_ENCODABLE => f.write_str("value cannot be encoded"),
            Self(code) => write!(f, "error {code}"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use eyot_wire::code::{sdk_error, HostError};

    use super::*;

    #[test]
    fn host_errors_have_the_numbers_of_the_interface() {
        for (own, host) in [
            (Error::NOT_FOUND, HostError::NotFound),
            (Error::NOT_ALLOWED, HostError::NotAllowed),
            (Error::OVER_LIMIT, HostError::OverLimit),
            (Error::BAD_POINTER, HostError::BadPointer),
        ] {
            assert_eq!(own.code(), host.code());
        }
    }

    #[test]
    fn whoever_sees_the_number_can_say_what_it_means() {
        let known = (-9..Error::OWN_MIN).filter_map(|code| Some((Error(code), sdk_error(code)?)));
        for (error, meaning) in known {
            assert_eq!(error.to_string(), meaning);
        }
        for code in (-9..Error::OWN_MIN).filter(|code| sdk_error(*code).is_none()) {
            assert_eq!(Error(code).to_string(), format!("error {code}"));
        }
    }

    #[test]
    fn own_errors_start_above_those_of_the_sdk() {
        assert_eq!(Error::own(16).code(), 16);
        assert!(Error::NOT_ENCODABLE.code() < Error::OWN_MIN);
    }

    #[test]
    #[should_panic(expected = "OWN_MIN")]
    fn an_own_error_cannot_look_like_one_of_the_sdk() {
        Error::own(0);
    }
}
