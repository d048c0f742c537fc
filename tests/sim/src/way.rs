//! How a version is to come in force: at once, or after it was on trial.

use crate::scenario::Setup;

/// Messages after which a run is over that no command has to end.
const SHADOW_MESSAGES: u32 = 50;
/// The same of canaries, which have less of them.
const CANARY_MESSAGES: u32 = 30;
/// Sensors are few, and so are the topics of a share.
const CANARY_PERCENT: u32 = 50;

/// What a version is beside the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It sees what that one sees, and its effects are withheld.
    Shadow,
    /// It has a share of the messages.
    Canary,
}

impl Stage {
    /// As the gateway calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Canary => "canary",
        }
    }

    /// The one of this name.
    pub fn called(word: &str) -> Self {
        let stage = [Self::Shadow, Self::Canary].into_iter().find(|stage| stage.word() == word);
        stage.unwrap_or_else(|| panic!("nothing is called {word}"))
    }
}

/// When a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Until {
    /// After some messages.
    Messages,
    /// When a command says so.
    Promoted,
}

/// The way of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    shadow: Option<Until>,
    canary: Option<Until>,
}

impl Way {
    /// One that this world has.
    pub fn draw(rng: &mut fastrand::Rng, setup: &Setup) -> Self {
        let mut run = |is_here| match rng.u32(0..4) {
            0 | 1 => None,
            2 => Some(Until::Messages).filter(|_| is_here),
            _ => Some(Until::Promoted).filter(|_| is_here),
        };
        Self { shadow: run(setup.shadows), canary: run(setup.canaries) }
    }

    /// What it is first; none if it comes in force at once.
    pub fn first(self) -> Option<Stage> {
        let canary = self.canary.map(|_| Stage::Canary);
        self.shadow.map(|_| Stage::Shadow).or(canary)
    }

    /// What it is after that; none if it is in force then.
    pub fn after(self, stage: Stage) -> Option<Stage> {
        self.canary.map(|_| Stage::Canary).filter(|_| stage == Stage::Shadow)
    }

    /// Whether it goes on from there by itself.
    pub fn goes_on(self, stage: Stage) -> bool {
        let until = match stage {
            Stage::Shadow => self.shadow,
            Stage::Canary => self.canary,
        };
        until == Some(Until::Messages)
    }

    /// What the manifest says of it. All outputs differ, because they have the version.
    pub fn rollout(self) -> String {
        let run = |until, messages: u32, beside: &str| match until {
            Until::Messages => format!("{beside}{messages} messages"),
            Until::Promoted => "until promoted".to_owned(),
        };
        let shadow = self
            .shadow
            .map(|until| format!("shadow = \"{}\"\ndifferent = \"100%\"\n", run(until, SHADOW_MESSAGES, "")));
        let canary = self
            .canary
            .map(|until| format!("canary = \"{CANARY_PERCENT}% {}\"\n", run(until, CANARY_MESSAGES, "for ")));
        match self.first() {
            Some(_) => format!("[rollout]\n{}{}", shadow.unwrap_or_default(), canary.unwrap_or_default()),
            None => String::new(),
        }
    }
}
