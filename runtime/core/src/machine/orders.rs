//! Commands: what each of them asks for, once it is known who gave it.

use eyot_trust::command::claimed;
use eyot_wire::control::{Command, Order, Repeated};
use eyot_wire::system::SystemUpdate;

use super::deploy::LEAVING_MAX_US;
use super::*;
use crate::deploy::plan::{Change, Origin, Request, Stage, WAITING_MAX};
use crate::deploy::registry::{StateChange, DONE_ALREADY};
use crate::task::{Authorized, Task, Unauthorized};

impl<S: Storage> Core<S> {
    /// What says that it is a command that was done, or is on its way, is answered without a look at its signature: to keep it
    /// would be a write to the flash, each time somebody sends it again.
    pub(super) fn is_repeated(&mut self, text: &[u8]) -> bool {
        let Some(order) = claimed(text) else { return false };
        let Some((repeated, reason)) = self.repetition(&order.nonce) else { return false };
        self.report_repeated(&order, repeated, reason);
        true
    }

    /// What became of the command that came before under this nonce, if one did. To do a command that is on its way twice would
    /// be to roll back twice.
    fn repetition(&self, nonce: &str) -> Option<(Repeated, &'static str)> {
        if self.deployer.is_on_its_way(nonce) || self.is_node_order_on_its_way(nonce) {
            return Some((Repeated::Waiting, "is on its way already, under the same nonce"));
        }
        self.deployer.registry.nonces.contains_key(nonce).then_some((Repeated::Done, DONE_ALREADY))
    }

    /// A command that a trusted key has signed.
    pub(super) fn ordered(&mut self, authorized: Authorized) {
        let order = &authorized.order;
        let now_s = u64::try_from(self.now.unix_ms / 1000).unwrap_or(0);
        let admitted = self.deployer.registry.admit(&order.nonce, now_s).map_err(str::to_owned);
        if let Some((repeated, reason)) = self.repetition(&order.nonce) {
            self.report_repeated(order, repeated, reason);
            if repeated == Repeated::Done {
                self.deployer.tasks.push_back(Task::Done { nonce: order.nonce.clone() });
            }
            return;
        }
        let refused = match admitted {
            Err(reason) => Some(reason),
            Ok(()) if self.deployer.waiting.len() >= WAITING_MAX => {
                Some(format!("is one too many: {WAITING_MAX} changes wait; send it again later"))
            }
            Ok(()) => None,
        };
        match refused {
            Some(reason) => self.settle(order, Err(&reason)),
            None => self.deployer.waiting.push_back(Request::Order(authorized)),
        }
    }

    /// A command that was acknowledged before the gateway ended.
    pub(super) fn ordered_before(&mut self, kept: Result<Authorized, Unauthorized>) {
        let is_done = |order: &Order| self.deployer.registry.nonces.contains_key(&order.nonce);
        match kept {
            Ok(Authorized { order, .. }) | Err(Unauthorized { claimed: Some(order), .. }) if is_done(&order) => {
                self.settle(&order, Ok(()));
            }
            Ok(authorized) => self.deployer.waiting.push_back(Request::Order(authorized)),
            Err(Unauthorized { claimed: Some(order), reason }) => self.settle(&order, Err(&reason)),
            Err(_) => {}
        }
    }

    /// A command is done, or not to be done: it is answered, and need not be kept any more.
    pub(super) fn settle(&mut self, order: &Order, result: Result<(), &str>) {
        self.report_order(order, result);
        self.deployer.tasks.push_back(Task::Done { nonce: order.nonce.clone() });
    }

    pub(super) fn begin_order(&mut self, authorized: Authorized) -> Result<(), String> {
        match authorized.order.command.clone() {
            Command::Node { .. } => return self.begin_node_order(authorized),
            Command::Update(update) => return self.begin_update(update, &authorized),
            _ => {}
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
                let to = entry.way_back(to.as_deref()).cloned().ok_or_else(|| match to {
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
                self.functions.place(&name).ok_or_else(none_here)?;
                let until_us = self.now.mono_us.saturating_add(LEAVING_MAX_US);
                self.deployer.stage = Some(Stage::Leaving { name, origin, until_us });
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
            Command::Node { .. } | Command::Update(_) => {}
        }
        Ok(())
    }

    /// The parts follow, and the store knows from here on that they belong to what was signed.
    fn begin_update(&mut self, update: SystemUpdate, by: &Authorized) -> Result<(), String> {
        self.remember(by)?;
        self.deployer.tasks.push_back(Task::Update(update));
        Ok(())
    }

    /// A capture ends with the process.
    fn begin_capture(&mut self, name: &str, count: u32, on_error: bool, by: &Authorized) -> Result<(), String> {
        if self.functions.place(name).is_none() {
            return Err(format!("\"{name}\" does not run here; see `eyot list`"));
        }
        self.has_room_to_remember()?;
        self.functions.captures.want(name, count, on_error)?;
        self.remember(by)
    }

    fn has_room_to_remember(&self) -> Result<(), String> {
        let full = || "the log has no room to remember the command; send it again later".to_owned();
        self.committer.takes_letters().then_some(()).ok_or_else(full)
    }

    /// Of a command that changes no function the log has to know only that it was done.
    fn remember(&mut self, by: &Authorized) -> Result<(), String> {
        self.has_room_to_remember()?;
        let command = &by.order.command;
        let line = self.audit_line(command.word(), command.function(), &by.signer, None, Ok(()));
        let (deployed, _) = self.write_change("", None, Some(by), StateChange::Keep, line)?;
        self.settle(&by.order, Ok(()));
        self.audit_change(deployed.number);
        Ok(())
    }
}
