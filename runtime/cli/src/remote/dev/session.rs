//! Built, pushed and watched, until Ctrl-C.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;

use eyot_trust::sign::Signer;
use eyot_wire::control::PushReport;
use semver::Version;
use tokio::signal::unix::{signal, Signal, SignalKind};
use tokio::task::{spawn_blocking, JoinHandle};

use super::build::{Build, Source};
use super::watch::Watch;
use crate::error::Error;
use crate::output::{self, shown, LABEL};
use crate::remote::client::{Client, Event, Message};
use crate::remote::documents::{split, FunctionDocument};
use crate::remote::logs;
use crate::remote::options::{Connection, Id};
use crate::remote::push::outcome::Outcome;
use crate::remote::roster::gather;

/// What is subscribed to: all there is on a broker of our own, else what the gateway says of this function and what that
/// emits. No two of them match the same topic: a broker may send a message once for each that does.
pub fn filters(id: &Id, is_own: bool, emits: &[String]) -> Vec<String> {
    if is_own {
        return vec!["#".to_owned()];
    }
    let own = ["status", "function/+", "push/+", "log/+", "dead/+"];
    own.iter().map(|rest| format!("eyot/{}/{rest}", id.as_str())).chain(emits.iter().cloned()).collect()
}

type Building = JoinHandle<(Result<Build, Error>, u64, Option<BTreeSet<PathBuf>>)>;

/// It.
pub struct Session {
    source: Source,
    watch: Watch,
    id: Id,
    client: Client,
    connection: Connection,
    signer: Option<Arc<Signer>>,
    building: Option<Building>,
    /// Something changed while it was being built.
    is_stale: bool,
    /// Number of the last build.
    last: u64,
    /// Content of what was pushed last.
    content: Option<[u8; 32]>,
    /// What becomes of that.
    pushed: Option<(String, Outcome)>,
    /// The highest version the gateway has.
    known: Option<Version>,
    emits: Vec<String>,
    /// The gateway is in this process.
    is_own: bool,
    lost: bool,
}

impl Session {
    pub fn new(
        source: Source,
        watch: Watch,
        id: Id,
        client: Client,
        connection: Connection,
        signer: Option<Signer>,
        is_own: bool,
    ) -> Self {
        Self {
            emits: source.manifest.allow.emit.clone(),
            source,
            watch,
            id,
            client,
            connection,
            signer: signer.map(Arc::new),
            building: None,
            is_stale: false,
            last: 0,
            content: None,
            pushed: None,
            known: None,
            is_own,
            lost: false,
        }
    }

    /// Goes on until Ctrl-C, or SIGTERM.
    ///
    /// # Errors
    /// Nothing can be shown any more, or the gateway is not there.
    pub async fn run(mut self) -> Result<(), Error> {
        let no_signals = |e| Error::failed("signals", e, "free some memory or file descriptors");
        let mut int = signal(SignalKind::interrupt()).map_err(no_signals)?;
        let mut term = signal(SignalKind::terminate()).map_err(no_signals)?;
        let roster = gather(&mut self.client, &self.connection).await?;
        let (id, name) = (self.id.clone(), self.source.manifest.name.clone());
        match roster.members(&id).next() {
            Some((_, seen)) => seen.functions.get(&name).iter().for_each(|document| self.learn(document)),
            None => return Err(super::super::roster::unknown(&id, &self.client.url)),
        }
        self.build();
        loop {
            let ended = self.turn(&mut int, &mut term).await?;
            if ended {
                self.client.close().await;
                return Ok(());
            }
        }
    }

    async fn turn(&mut self, int: &mut Signal, term: &mut Signal) -> Result<bool, Error> {
        let building = async {
            match self.building.as_mut() {
                Some(building) => building.await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = int.recv() => return Ok(true),
            _ = term.recv() => return Ok(true),
            () = self.watch.next() => self.build(),
            built = building => {
                self.building = None;
                match built {
                    Ok((built, last, folders)) => {
                        folders.into_iter().for_each(|folders| self.watch.follow(&folders));
                        self.built(built, last)?;
                    }
                    Err(e) => return Err(Error::failed("build", e, "report this as a fault of eyot")),
                }
            }
            event = self.client.next() => self.see(event)?,
        }
        Ok(false)
    }

    /// Begins a build, or notes that the one under way is not the last.
    fn build(&mut self) {
        if self.building.is_some() {
            self.is_stale = true;
            return;
        }
        self.is_stale = false;
        let (source, known, signer, mut last) =
            (self.source.clone(), self.known.clone(), self.signer.clone(), self.last);
        self.building = Some(spawn_blocking(move || {
            // Also of one that does not build: the fault may be there.
            let folders = source.path_dependencies();
            let built = source.build(known.as_ref(), &mut last, signer.as_deref());
            (built, last, folders)
        }));
    }

    fn built(&mut self, built: Result<Build, Error>, last: u64) -> Result<(), Error> {
        self.last = last;
        if self.is_stale {
            self.build();
            return Ok(());
        }
        let Build { module, content, manifest } = match built {
            Ok(build) => build,
            Err(error) => {
                error.report(false);
                return Ok(());
            }
        };
        if self.content == Some(content) {
            return Ok(());
        }
        if self.emits != manifest.allow.emit {
            self.emits = manifest.allow.emit;
            self.subscribe_to_outputs();
        }
        let version = &module.manifest.version;
        output::print(&format!("{LABEL}pushed{LABEL:#} {} {version}\n", module.manifest.name))?;
        self.content = Some(content);
        self.pushed = Some((module.sha256, Outcome::new(self.id.as_str(), "sent")));
        self.client.drop_unsent();
        self.client.publish(format!("eyot/{}/push", self.id.as_str()), module.wasm, false);
        Ok(())
    }

    /// The gateway has this version; what comes next must be higher.
    fn learn(&mut self, document: &FunctionDocument) {
        let versions = [Some(&document.version), document.active.as_ref().map(|active| &active.version)];
        for version in versions.into_iter().flatten().filter_map(|text| Version::parse(text).ok()) {
            if self.known.as_ref().is_none_or(|known| version.cmp_precedence(known).is_gt()) {
                self.known = Some(version);
            }
        }
    }

    fn subscribe_to_outputs(&mut self) {
        self.client.subscribe(filters(&self.id, self.is_own, &self.emits));
    }

    fn see(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Message(message) => self.show(&message),
            Event::Published { accepted: true } => Ok(()),
            Event::Published { accepted: false } => {
                let remedy = "check that this client may publish there, or push it once in parts with `eyot push`";
                Error::failed(&self.client.url, "the broker refuses the push", remedy).report(false);
                Ok(())
            }
            Event::Up => {
                if std::mem::take(&mut self.lost) {
                    output::note("connected again");
                }
                Ok(())
            }
            Event::Down(reason) => {
                if !std::mem::replace(&mut self.lost, true) {
                    output::warning(&format!("{}: {reason}; trying again", self.client.url));
                }
                Ok(())
            }
        }
    }

    fn show(&mut self, message: &Message) -> Result<(), Error> {
        let Some((gateway, rest)) = split(&message.topic) else { return self.show_output(message) };
        if gateway != self.id.as_str() {
            return Ok(());
        }
        let name = self.source.manifest.name.clone();
        match rest.split_once('/') {
            Some(("log" | "dead", function)) if function == name => {
                let entry = logs::read(rest, message);
                entry.map_or(Ok(()), |entry| output::print(&format!("{}\n", entry.shown())))
            }
            Some(("push", _)) => {
                let Ok(report) = serde_json::from_slice::<PushReport>(&message.payload) else { return Ok(()) };
                let is_ours = self.pushed.as_ref().is_some_and(|(sha256, _)| *sha256 == report.sha256);
                self.show_outcome(|outcome| is_ours && outcome.take_report(&report))
            }
            Some(("function", function)) if function == name => {
                let Ok(document) = serde_json::from_slice::<FunctionDocument>(&message.payload) else {
                    return Ok(());
                };
                self.learn(&document);
                let is_ours = self.pushed.as_ref().is_some_and(|(sha256, _)| *sha256 == document.sha256);
                self.show_outcome(|outcome| is_ours && outcome.take_document(&document))
            }
            _ => Ok(()),
        }
    }

    fn show_outcome(&mut self, news: impl FnOnce(&mut Outcome) -> bool) -> Result<(), Error> {
        let Some((_, outcome)) = &mut self.pushed else { return Ok(()) };
        if !news(outcome) || outcome.state == "staged" {
            return Ok(());
        }
        output::print(&format!("{}\n", outcome.text()))
    }

    fn show_output(&self, message: &Message) -> Result<(), Error> {
        let is_output = self.emits.iter().any(|filter| eyot_wire::topic::matches(filter, &message.topic));
        if !is_output || message.retained {
            return Ok(());
        }
        let (topic, payload) = (shown(message.topic.as_bytes()), shown(&message.payload));
        output::print(&format!("{LABEL}{topic}{LABEL:#}  {payload}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::options::gateway;

    #[test]
    fn no_message_is_asked_for_twice() {
        let id = gateway(Some("g")).unwrap();
        let emits = ["processed/+".to_owned()];
        assert_eq!(filters(&id, true, &emits), ["#"]);
        let filters = filters(&id, false, &emits);
        for topic in ["eyot/g/log/f", "eyot/g/dead/f", "eyot/g/push/00", "processed/7"] {
            let count = filters.iter().filter(|filter| eyot_wire::topic::matches(filter, topic)).count();
            assert_eq!(count, 1, "{topic}");
        }
    }
}
