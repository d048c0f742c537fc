//! Commands: what each of them asks for, once it is known who gave it.

use eyot_trust::command::claimed;
use eyot_wire::control::{Command, Repeated};

use super::*;
use crate::deploy::plan::{Change, Origin, Stage};
use crate::deploy::registry::StateChange;
use crate::task::Authorized;

impl<S: Storage> Core<S> {
    /// What says that it is a command that was done, or is on its way, is answered without a look at its signature: to keep it
    /// would be a write to the flash, each time somebody sends it again.
    pub(super) fn is_repeated(&mut self, text: &[u8]) -> bool {
        let Some(order) = claimed(text) else { return false };
        let is_waiting = self.deployer.is_on_its_way(&order.nonce);
        let is_done = self.deployer.registry.nonces.contains_key(&order.nonce);
        if is_waiting {
            self.report_repeated(&order, Repeated::Waiting, "is on its way already, under the same nonce");
        } else if is_done {
            self.report_repeated(
                &order,
                Repeated::Done,
                "was done already: it has the nonce of an earlier command; sign a new one",
            );
        }
        is_waiting || is_done
    }

    pub(super) fn begin_order(&mut self, authorized: Authorized) -> Result<(), String> {
        if let Command::Node { .. } = authorized.order.command {
            return self.begin_node_order(authorized);
        }
        let name = authorized.order.command.function().to_owned();
        let origin = Origin { by: authorized.signer.clone(), push: None, order: Some(authorized.clone()) };
        if self.is_reducer(&name) {
            return Err(format!("\"{name}\" is the reducer of [spool.reduce]; change it in the configuration file"));
        }
        let none_here = || format!("no function here is called \"{name}\"; see `eyot list`");
        let entry = self.entry(&name).ok_or_else(none_here)?;
        match authorized.order.command.clone() {
            Command::Rollback { to: None, .. } if entry.trial.is_some() => {
                let reason = format!("taken back by {}", authorized.signer);
                entry.trial.into_iter().for_each(|t| self.let_go(&name, t.build, reason.clone(), origin.clone()));
            }
            Command::Rollback { to, .. } => {
                // What was taken back lies ahead: who wants it says so.
                let ahead = entry.taken_back.iter().filter(|_| to.is_some()).map(|back| &back.build);
                let kept = entry.previous.iter().chain(ahead);
                let mut kept = kept.filter(|build| to.as_ref().is_none_or(|to| build.is_called(to)));
                let to = kept.next().cloned().ok_or_else(|| match to {
                    Some(to) => {
                        format!("version {to} of \"{name}\" is not kept here; push it again under a higher version")
                    }
                    None => format!("there is no version of \"{name}\" before the present one; push another"),
                })?;
                let reason = format!("rolled back by {}", authorized.signer);
                self.load(&name, Change::TakeBack(to, reason), origin);
            }
            Command::Promote { .. } => {
                let back = || entry.taken_back.map(|back| Change::Advance(back.build));
                let change = entry.trial.map(Self::step_on).or_else(back);
                let change =
                    change.ok_or_else(|| format!("no version of \"{name}\" waits to be promoted; push one"))?;
                self.load(&name, change, origin);
            }
            Command::Remove { .. } => {
                let place = self.functions.place(&name).ok_or_else(none_here)?;
                self.functions.set_leaving(place, true);
                self.deployer.stage = Some(Stage::Ready { name, change: Change::Remove, origin, loaded: None });
            }
            Command::Config { set, unset, .. } => {
                self.functions.place(&name).ok_or_else(none_here)?;
                let mut overrides: BTreeMap<String, String> = entry.overrides.into_iter().collect();
                unset.iter().for_each(|key| drop(overrides.remove(key)));
                overrides.extend(set);
                self.load(&name, Change::Configure(overrides.into_iter().collect()), origin);
            }
            Command::Capture { count, on_error, .. } => self.begin_capture(&name, count, on_error, &authorized)?,
            // Done above.
            Command::Node { .. } => {}
        }
        Ok(())
    }

    /// The log has to know only that the command was done: a capture ends with the process.
    fn begin_capture(&mut self, name: &str, count: u32, on_error: bool, by: &Authorized) -> Result<(), String> {
        if self.functions.place(name).is_none() {
            return Err(format!("\"{name}\" does not run here; see `eyot list`"));
        }
        if !self.committer.takes_letters() {
            return Err("the log has no room to remember the command; send it again later".to_owned());
        }
        self.functions.captures.want(name, count, on_error)?;
        let line = self.audit_line(by.order.command.word(), name, &by.signer, None, Ok(()));
        let (deployed, _) = self.write_change("", None, Some(by), StateChange::Keep, line)?;
        self.settle(&by.order, Ok(()));
        self.audit_change(deployed.number);
        Ok(())
    }
}
