//! What became of a push at one gateway.

use eyot_wire::control::{PushReport, PushState};
use serde::Serialize;

use crate::output::shown;
use crate::remote::documents::FunctionDocument;
use crate::remote::list::style;

/// It, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub gateway: String,
    /// `sent`, `offline`, `receiving`, `staged`, `shadow`, `canary`, `active`, `unchanged`, `rejected` or `rolled-back`.
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Outcome {
    pub fn new(gateway: &str, state: &str) -> Self {
        Self { gateway: gateway.to_owned(), state: state.to_owned(), reason: None }
    }

    /// Takes in a report; true if that is news.
    pub fn take_report(&mut self, report: &PushReport) -> bool {
        let state = match report.state {
            PushState::Receiving => "receiving",
            PushState::Staged => "staged",
            PushState::Shadow => "shadow",
            PushState::Canary => "canary",
            PushState::Active => "active",
            PushState::Unchanged => "unchanged",
            PushState::Rejected => "rejected",
        };
        self.become_(state, report.reason.as_deref())
    }

    /// Takes in what the function's topic says of this very module; true if that is news.
    pub fn take_document(&mut self, document: &FunctionDocument) -> bool {
        self.become_(&document.state, document.reason.as_deref())
    }

    fn become_(&mut self, state: &str, reason: Option<&str>) -> bool {
        // Both topics tell the same, in any order; what was decided stays, but for a version that is taken back
        // and one on trial, of which more can become known while other gateways are waited for.
        let is_decided = self.is_final() && !matches!(self.state.as_str(), "shadow" | "canary");
        if is_decided && state != "rolled-back" || self.state == state {
            return false;
        }
        self.state = state.to_owned();
        self.reason = reason.map(str::to_owned);
        true
    }

    /// Whether nothing more is to come.
    pub fn is_final(&self) -> bool {
        self.is_good() || matches!(self.state.as_str(), "rejected" | "rolled-back")
    }

    /// Whether it runs, in force or, as its rollout has it, as a shadow or a canary beside the version that is.
    pub fn is_good(&self) -> bool {
        matches!(self.state.as_str(), "active" | "shadow" | "canary" | "unchanged" | "quarantined")
    }

    /// Whether the gateway has all of it.
    pub fn is_received(&self) -> bool {
        self.is_final() || self.state == "staged"
    }

    /// One line.
    pub fn text(&self) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(": {}", shown(reason.as_bytes()))).unwrap_or_default();
        let style = style(&self.state);
        format!("{}: {style}{}{style:#}{reason}", shown(self.gateway.as_bytes()), shown(self.state.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: PushState) -> PushReport {
        let (sha256, name, version, reason) = (String::new(), None, None, Some("why".to_owned()));
        PushReport { node: None, sha256, state, name, version, reason, bytes: 0, missing: Vec::new(), next: 0 }
    }

    #[test]
    fn a_shadow_is_where_a_push_arrives_and_may_still_become_something() {
        let mut outcome = Outcome::new("g", "sent");
        assert!(outcome.take_report(&report(PushState::Shadow)) && outcome.is_final() && outcome.is_good());
        assert!(outcome.take_report(&report(PushState::Rejected)) && outcome.is_final() && !outcome.is_good());
    }

    #[test]
    fn what_was_decided_stays_unless_it_is_taken_back() {
        let mut outcome = Outcome::new("g", "sent");
        assert!(outcome.take_report(&report(PushState::Staged)) && outcome.is_received() && !outcome.is_final());
        assert!(!outcome.take_report(&report(PushState::Staged)), "no news");
        assert!(outcome.take_report(&report(PushState::Active)) && outcome.is_good());
        assert!(!outcome.take_report(&report(PushState::Unchanged)), "it was sent twice");
        assert!(!outcome.take_report(&report(PushState::Receiving)));
        let document = FunctionDocument {
            name: "f".to_owned(),
            version: "1.0.0".to_owned(),
            sha256: String::new(),
            state: "rolled-back".to_owned(),
            reason: Some("trap".to_owned()),
            active: None,
            staged: None,
        };
        assert!(outcome.take_document(&document) && outcome.is_final() && !outcome.is_good());
        assert_eq!(outcome.text(), format!("g: {0}rolled-back{0:#}: trap", style("rolled-back")));
    }
}
