//! What functions may come to need, and what there is: in the status, so that others can tell what one more would come to.

use serde::Serialize;

use crate::active::Active;
use crate::config::FUNCTIONS_MAX;
use crate::needs::Needs;

/// What all functions together may come to, at most.
#[derive(Serialize)]
pub(crate) struct Capacity {
    pub functions: usize,
    pub state_bytes: u64,
    /// `[run] fuel_budget`, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel_per_s: Option<u64>,
}

impl Capacity {
    /// Of a gateway whose log has this quota.
    pub fn new(spool_max_bytes: u64, fuel_budget_per_s: Option<u64>) -> Self {
        let needs = Needs::new(spool_max_bytes, fuel_budget_per_s);
        Self { functions: FUNCTIONS_MAX, state_bytes: needs.state_max_bytes(), fuel_per_s: fuel_budget_per_s }
    }
}

/// What of that one function has.
#[derive(Serialize)]
pub(crate) struct Share {
    state_max_bytes: u64,
    /// None if its triggers do not say how many messages they expect.
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel_per_s: Option<u64>,
}

impl Share {
    pub fn of(active: &Active) -> Self {
        let need = active.instances.need(&active.manifest);
        let fuel_per_s = need.fuel_per_s().map(|fuel| u64::try_from(fuel).unwrap_or(u64::MAX));
        Self { state_max_bytes: need.state_bytes, fuel_per_s }
    }
}
