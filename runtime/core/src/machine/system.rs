//! Updates of the system that this gateway runs on: what the store says of them, and what the system says of itself.

use eyot_wire::system::{UpdateReport, UpdateState};

use super::*;
use crate::task::Task;

impl<S: Storage> Core<S> {
    /// Bytes of an update are kept, or it is known what becomes of it.
    pub(super) fn update_answered(&mut self, ticket: Option<u64>, report: Option<UpdateReport>) {
        if let Some(ticket) = ticket {
            self.acknowledge_ticket(ticket);
        }
        let Some(report) = report else { return };
        self.publish_control(&format!("update/{}", report.sha256), &report, false);
        let UpdateReport { sha256, state, reason, .. } = report;
        self.notices.push(match (state, reason) {
            (UpdateState::Rejected, reason) => Notice::UpdateRejected { reason: reason.unwrap_or_default() },
            (UpdateState::Verified, _) => Notice::UpdateVerified { sha256 },
            (UpdateState::Receiving | UpdateState::Unchanged, _) => return,
        });
    }

    /// Has the system asked what it says of itself, for the status.
    pub(super) fn ask_system(&mut self) {
        if self.config.is_flashed {
            self.effects.push_back(Effect::Task(Box::new(Task::System)));
        }
    }

    /// That is it.
    pub(super) fn system_answered(&mut self, system: Option<String>) {
        let system = system.and_then(|text| serde_json::value::RawValue::from_string(text).ok());
        if system.as_ref().map(|new| new.get()) != self.deployer.system.as_ref().map(|old| old.get()) {
            self.deployer.system = system;
            self.status_soon();
        }
    }
}
