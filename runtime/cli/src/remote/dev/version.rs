//! Versions of builds that are not released. A gateway takes only versions that go up, and a release must be able to follow
//! the builds that led to it.

use semver::{Prerelease, Version};

/// The version of a build of `base`, where `known` is the highest that the gateway has: a pre-release of `base`, unless the
/// gateway is beyond that; then one of the patch after what it has. `number` rises from build to build.
pub fn of_build(base: &Version, known: Option<&Version>, number: u64) -> Version {
    let build_of = |major, minor, patch| {
        let mut version = Version::new(major, minor, patch);
        // A word and a number are always a pre-release.
        version.pre = Prerelease::new(&format!("dev.{number}")).unwrap_or_default();
        version
    };
    let wanted = build_of(base.major, base.minor, base.patch);
    match known {
        Some(known) if wanted.cmp_precedence(known).is_le() => {
            build_of(known.major, known.minor, known.patch.saturating_add(1))
        }
        _ => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_come_before_the_release_they_lead_to_and_after_what_is_there() {
        for (base, known, expected) in [
            ("1.2.0", "", "1.2.0-dev.7"),
            ("1.2.0", "1.1.9", "1.2.0-dev.7"),
            ("1.2.0", "1.2.0-dev.6", "1.2.0-dev.7"),
            ("1.2.0", "1.2.0", "1.2.1-dev.7"),
            ("1.2.0", "1.2.1-dev.6", "1.2.2-dev.7"),
            ("1.2.1", "1.2.1-dev.6", "1.2.1-dev.7"),
            ("1.2.0", "1.2.0-rc.1", "1.2.1-dev.7"),
            ("1.2.0-rc.1", "1.1.0", "1.2.0-dev.7"),
            ("1.2.0", "3.0.0", "3.0.1-dev.7"),
        ] {
            let known = (!known.is_empty()).then(|| known.parse::<Version>().unwrap());
            let version = of_build(&base.parse().unwrap(), known.as_ref(), 7);
            assert_eq!(version.to_string(), expected, "{base} over {known:?}");
            assert!(known.is_none_or(|known| version.cmp_precedence(&known).is_gt()));
        }
    }
}
