//! `rate` of a trigger: how many messages are expected.

use alloc::format;
use alloc::string::String;
use core::fmt;

use serde::Deserialize;

/// Largest expected rate of a trigger: a million messages a second.
pub const RATE_MAX_PER_H: u64 = 3_600_000_000;

/// Expected messages: `"100/s"`, `"6/min"`, `"1/h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate {
    /// In an hour, 1 to [`RATE_MAX_PER_H`].
    pub per_h: u64,
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (number, unit) = text.split_once('/').unwrap_or((&text, ""));
        let units_per_h = match unit.trim() {
            "s" => 3600,
            "min" => 60,
            "h" => 1,
            _ => 0,
        };
        let per_h = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(units_per_h));
        match per_h.filter(|per_h| (1..=RATE_MAX_PER_H).contains(per_h)) {
            Some(per_h) => Ok(Self { per_h }),
            None => Err(format!(
                "\"{}\" is not a rate; write for example \"100/s\", \"6/min\" or \"1/h\"",
                text.chars().take(80).collect::<String>()
            )),
        }
    }
}

/// As it stands in a `function.toml`, with the largest unit of which it is a whole number.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per_h {
            per_h if per_h % 3600 == 0 => write!(f, "{}/s", per_h / 3600),
            per_h if per_h % 60 == 0 => write!(f, "{}/min", per_h / 60),
            per_h => write!(f, "{per_h}/h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    const FULL: &str = "name = \"celsius\"\nversion = \"1.2.0\"\n[[trigger]]\nmqtt = \"sensors/+/raw\"\n[limits]\n";

    #[test]
    fn a_trigger_may_say_how_much_it_expects() {
        let rate = |text: &str| {
            let manifest = FULL.replace("[limits]", &format!("rate = \"{text}\"\n[limits]"));
            Manifest::parse(&manifest).map(|m| m.triggers[0].rate.map(|r| r.per_h)).map_err(|e| e.0)
        };
        assert_eq!(Manifest::parse(FULL).unwrap().triggers[0].rate, None);
        assert_eq!(["2/s", "6/min", "1 / h"].map(|text| rate(text).unwrap()), [Some(7200), Some(360), Some(1)]);
        for (per_h, written) in [(7200, "2/s"), (360, "6/min"), (61, "61/h")] {
            assert_eq!(format!("{}", Rate { per_h }), written);
        }
        for bad in ["2", "0/s", "-1/s", "2/day", "1000001/s", "99999999999999999999/s", "1.5/s"] {
            assert!(rate(bad).unwrap_err().contains("\"100/s\""), "{bad}");
        }
    }
}
