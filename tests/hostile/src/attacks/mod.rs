//! The list of attacks.

mod calls;
mod input;
mod memory;
mod modules;
mod sections;
mod spin;

/// How an attack must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is not loaded; the reason says this.
    Refused(&'static str),
    /// Each message fails: the word of the failure, and something that its text says.
    Fails(&'static str, &'static str),
    /// Each message ends well, as the attack achieves nothing.
    Nothing,
}

/// All fuel is used up.
pub const OUT_OF_FUEL: End = End::Fails("fuel", "out of fuel");

/// The attack that multiplies subnormal numbers, which some processors take very long for.
pub const SUBNORMAL: &str = "endless-subnormals";

/// A module that tries to harm its host.
#[derive(Clone, Debug)]
pub struct Attack {
    /// Short, unique, and fit for a function's name.
    pub name: String,
    /// The module, without a manifest.
    pub wasm: Vec<u8>,
    /// Lines of `[limits]`.
    pub limits: String,
    /// How it must end.
    pub end: End,
}

impl Attack {
    fn new(name: impl Into<String>, wasm: Vec<u8>, end: End) -> Self {
        Self { name: name.into(), wasm, limits: String::new(), end }
    }

    /// Lines of `[limits]`.
    #[must_use]
    fn limits(mut self, limits: impl Into<String>) -> Self {
        self.limits = limits.into();
        self
    }

    /// Whether the module is to be loaded.
    pub fn runs(&self) -> bool {
        !matches!(self.end, End::Refused(_))
    }
}

/// Every attack, those that run and those that are refused.
pub fn all() -> Vec<Attack> {
    [spin::all(), memory::all(), calls::all(), input::all(), modules::all(), sections::all()].concat()
}
