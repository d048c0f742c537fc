//! What an HTTP answer means for the records that were sent.
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx | stored |
//! | 408, 425, 429, 5xx | later; `Retry-After` is a lower bound of the wait, itself bounded by [`RETRY_AFTER_MAX`] |
//! | 401, 403, 407 | this gateway may not: somebody must change credentials or rights; retried seldom, nothing dropped |
//! | 3xx, 404, 405, 410, 415, 421, 426 | the wrong place or form for any record: retried seldom, nothing dropped |
//! | any other 4xx | a record is refused for good |

use std::time::{Duration, SystemTime};

use super::client::Reply;
use super::{Failure, Retry, Verdict};

/// Longest wait a server can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// Reads `Retry-After`: seconds, or a date.
pub fn retry_after(text: &str) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text.trim()).ok()?;
            date.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Judges the answer to `request`, which is named in messages.
///
/// # Errors
/// Why nothing is known to be stored.
pub fn judge(request: &str, reply: &Reply) -> Result<Verdict, Failure> {
    let Reply { status, retry_after, location, excerpt } = reply;
    let said = |remedy: &str| format!("{request} is answered by {status}; {remedy}");
    match status.as_u16() {
        200..=299 => Ok(Verdict::Stored),
        408 | 425 | 429 | 500.. => {
            let retry = retry_after.map_or(Retry::Soon, Retry::After);
            Err(Failure { reason: said("it is tried again"), detail: excerpt.clone(), retry })
        }
        401 | 403 | 407 => Err(detailed(said("check the credentials and rights of this gateway"), excerpt)),
        415 => Err(detailed(said("it may not know this format or compress"), excerpt)),
        404 | 405 | 410 | 421 | 426 => Err(detailed(said("check the url"), excerpt)),
        400..=499 => Ok(Verdict::Refused(format!("{status} {excerpt}"))),
        _ => {
            let to = location.as_deref().unwrap_or("nowhere");
            Err(detailed(said(&format!("it points to {to}; write the url that answers itself")), excerpt))
        }
    }
}

fn detailed(reason: String, excerpt: &str) -> Failure {
    Failure { reason, detail: excerpt.to_owned(), retry: Retry::Slowly }
}

/// Like [`judge`], for requests that hold nothing a record could do wrong: what would be the fault of a record is the
/// configuration's.
///
/// # Errors
/// Why nothing is known to be stored.
#[cfg(feature = "s3")]
pub fn judge_opaque(request: &str, reply: &Reply) -> Result<(), Failure> {
    match judge(request, reply)? {
        Verdict::Stored => Ok(()),
        Verdict::Refused(_) => {
            let reason = format!("{request} is answered by {}; check the configuration", reply.status);
            Err(detailed(reason, &reply.excerpt))
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    fn answer(status: u16) -> Reply {
        let status = StatusCode::from_u16(status).unwrap();
        Reply { status, retry_after: None, location: None, excerpt: "why".to_owned() }
    }

    #[test]
    fn each_status_means_one_thing() {
        for status in [200, 201, 202, 204] {
            assert_eq!(judge("POST", &answer(status)), Ok(Verdict::Stored), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(judge("POST", &answer(status)).unwrap_err().retry, Retry::Soon, "{status}");
        }
        for status in [301, 307, 401, 403, 404, 405, 407, 410, 415, 421, 426] {
            assert_eq!(judge("POST", &answer(status)).unwrap_err().retry, Retry::Slowly, "{status}");
        }
        for status in [400, 409, 413, 422, 431, 451] {
            assert!(matches!(judge("POST", &answer(status)), Ok(Verdict::Refused(why)) if why.contains("why")));
            assert_eq!(judge_opaque("PUT", &answer(status)).unwrap_err().retry, Retry::Slowly, "{status}");
        }
        let told = Reply { retry_after: Some(Duration::from_secs(3)), ..answer(503) };
        assert_eq!(judge("POST", &told).unwrap_err().retry, Retry::After(Duration::from_secs(3)));
    }

    #[test]
    fn both_forms_of_retry_after_are_read_and_bounded() {
        assert_eq!(retry_after("120"), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("99999999999"), Some(RETRY_AFTER_MAX));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(90));
        let wait = retry_after(&soon).unwrap();
        assert!((80..=90).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("Fri, 31 Dec 9999 23:59:59 GMT"), Some(RETRY_AFTER_MAX));
        assert_eq!((retry_after("-1"), retry_after("soon"), retry_after("")), (None, None, None));
    }
}
