//! Functions that try to harm the gateway, and what there is to measure that they harm only themselves.
//!
//! [`attacks::all`] is the list; each attack says how it must end. The tests run every one of them through the engine,
//! under clocks and under a counting allocator, and through the real daemon beside a function that must not notice.

pub mod attacks;
pub mod choices;
pub mod clock;

pub mod generate;
pub mod guest;
