//! A version on trial, and how it stands in the log. Older logs know shadows only, and are read as well.

use eyot_wire::control::PushState;
use eyot_wire::manifest::{Rollout, ShadowRun, Share};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Build;

/// A build beside the one in force, until it has shown what it does: a shadow as long as the rollout has one, then a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Which.
    pub build: Build,
    /// What it has to show yet, of what its manifest asks for, or else the gateway's configuration when it came.
    pub rollout: Rollout,
}

impl Trial {
    /// What it is at present, in one word.
    pub fn word(&self) -> &'static str {
        if self.rollout.shadow.is_some() {
            "shadow"
        } else {
            "canary"
        }
    }

    /// The same, of its push.
    pub fn push_state(&self) -> PushState {
        if self.rollout.shadow.is_some() {
            PushState::Shadow
        } else {
            PushState::Canary
        }
    }
}

/// The first two are, byte for byte, an `Option` of what a trial was before there were canaries.
#[derive(Serialize, Deserialize)]
enum Logged {
    None,
    Shadow { build: Build, shadow: Option<ShadowRun>, failures: u32, different: Share },
    Staged { build: Build, rollout: Rollout },
}

pub fn serialize<S: Serializer>(trial: &Option<Trial>, s: S) -> Result<S::Ok, S::Error> {
    let logged = match trial.clone() {
        None => Logged::None,
        Some(Trial { build, rollout: Rollout { shadow, failures, different, canary: None } }) => {
            Logged::Shadow { build, shadow, failures, different }
        }
        Some(Trial { build, rollout }) => Logged::Staged { build, rollout },
    };
    logged.serialize(s)
}

pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Trial>, D::Error> {
    Ok(match Logged::deserialize(d)? {
        Logged::None => None,
        Logged::Shadow { build, shadow, failures, different } => {
            Some(Trial { build, rollout: Rollout { shadow, failures, different, canary: None } })
        }
        Logged::Staged { build, rollout } => Some(Trial { build, rollout }),
    })
}

#[cfg(test)]
mod tests {
    use eyot_wire::manifest::CanaryRun;

    use super::super::{Deployed, Entry, StateChange};
    use super::*;

    #[derive(Serialize)]
    struct OldTrial {
        build: Build,
        rollout: (Option<ShadowRun>, u32, Share),
    }

    fn build() -> Build {
        Build { version: semver::Version::new(1, 2, 3), sha256: [1; 32], content_sha256: [2; 32] }
    }

    #[test]
    fn trials_are_read_back_and_shadows_are_as_they_were_before_canaries() {
        let rollout = Rollout { shadow: Some(ShadowRun::Messages(7)), failures: 300, ..Rollout::default() };
        let canary = Some(CanaryRun { share: Share { ppm: 100_000 }, messages: Some(5) });
        let staged = [Rollout { canary, ..rollout }, Rollout { canary, shadow: None, ..rollout }];
        for rollout in [None, Some(rollout)].into_iter().chain(staged.map(Some)) {
            let trial = rollout.map(|rollout| Trial { build: build(), rollout });
            let entry = Entry { trial, ..Entry::of(build()) };
            let deployed = Deployed::new(1, "f", Some(entry), None, StateChange::Keep);
            assert_eq!(Deployed::decode(&deployed.encode()), Some(deployed));
        }
        let old = OldTrial { build: build(), rollout: (rollout.shadow, rollout.failures, rollout.different) };
        let old = postcard::to_extend(&Some(old), Vec::new()).unwrap();
        let entry = Entry { trial: Some(Trial { build: build(), rollout }), ..Entry::default() };
        let new = postcard::to_extend(&entry, Vec::new()).unwrap();
        assert!(new.windows(old.len()).any(|bytes| bytes == old));
    }
}
