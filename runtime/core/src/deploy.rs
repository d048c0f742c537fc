//! Deployment: what is known of it, beside the data path. `machine::control` takes what comes, `machine::deploy` does it.
//!
//! Modules, in the order a push passes through them: `staging`: parts that have come; `allowance`: how much they may write;
//! `plan`: what is to be done, and the change under way; [`registry`]: which version is in force; [`guard`]: whether it stays;
//! [`rejected`]: what did not, and is not to be tried again. `nodes`: the same of nodes.

pub(crate) mod allowance;
pub mod guard;
pub(crate) mod nodes;
pub(crate) mod plan;
pub mod registry;
pub mod rejected;
pub(crate) mod staging;
