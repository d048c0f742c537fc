//! The walk through `gateway.toml`.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use eyot_trust::policy::Policy;
use eyot_wire::manifest::is_name;
use tokio_rustls::rustls::pki_types::ServerName;
use toml::de::DeTable;
use toml::Spanned;

use super::section::{At, Reader, Section};
use super::url::{self, Url};
use super::*;
use super::{deploy, run, spool};
use crate::mqtt::transport::{self, Endpoint, TlsFiles};

use eyot_core::config::{FUNCTIONS_MAX, GATEWAY_ID_MAX_BYTES as ID_MAX_BYTES, GROUPS_MAX, RECEIVE_MAX_DEFAULT};

const CLIENT_ID_MAX_BYTES: usize = 256;
const STATUS_INTERVAL: Duration = Duration::from_secs(30);
const STATUS_INTERVALS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// The walk so far.
pub(super) struct Walk<'t> {
    pub reader: Reader<'t>,
    /// What relative paths are relative to.
    pub base: &'t Path,
    /// `gateway.data_dir`.
    pub data_dir: PathBuf,
    /// `spool.max_bytes`.
    pub log_max_bytes: u64,
}

/// The document, as far as it is TOML, and what is not.
fn document(text: &str) -> (Spanned<DeTable<'_>>, Reader<'_>) {
    let mut reader = Reader::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        reader.problem(&span, "", format!("is not TOML: {}; correct the line", error.message()));
    }
    (document, reader)
}

pub fn read(text: &str, base: &Path) -> Result<Config, ConfigError> {
    let (document, reader) = document(text);
    let mut walk = Walk { reader, base, data_dir: PathBuf::new(), log_max_bytes: 0 };
    let mut root = Section::document(document.get_ref());
    let (id, groups, status_interval) = walk.gateway(&mut root);
    let broker = walk.broker(&mut root);
    let spool = spool::read(&mut walk.reader, &mut root);
    walk.log_max_bytes = spool.max_bytes;
    let uplinks = walk.uplinks(&mut root, broker.as_ref().map(|broker| &broker.at));
    let nodes = walk.nodes(&mut root);
    let sensors = walk.sensors(&mut root);
    let run = run::read(&mut walk.reader, &mut root);
    let metrics = metrics::read(&mut walk.reader, &mut root);
    let deploy = deploy::read(&mut walk.reader, &mut root);
    let trust = trust::read(&mut walk.reader, &mut root);
    let functions = walk.functions(&mut root);
    root.finish(&mut walk.reader);
    let data_dir = walk.data_dir;
    match (broker, walk.reader.finish()) {
        (Some(broker), (found, warnings)) if found.problems.is_empty() => Ok(Config {
            id,
            groups,
            data_dir,
            status_interval,
            broker,
            uplinks,
            nodes,
            sensors,
            spool,
            run,
            metrics,
            deploy,
            trust,
            functions,
            warnings,
            system: None,
        }),
        (_, (found, _)) => Err(ConfigError { functions, spool: Some(Box::new(spool)), run, ..found }),
    }
}

/// Only `[trust]`, from a file whose other parts may be for another machine.
pub fn read_trust(text: &str) -> Result<Policy, ConfigError> {
    let (document, mut reader) = document(text);
    let policy = trust::read(&mut reader, &mut Section::document(document.get_ref()));
    match reader.finish() {
        (found, _) if found.problems.is_empty() => Ok(policy),
        (found, _) => Err(found),
    }
}

impl Walk<'_> {
    fn gateway(&mut self, root: &mut Section<'_, '_>) -> (String, Vec<String>, Duration) {
        let r = &mut self.reader;
        let mut section = root.table(r, "gateway");
        let id = section.string(r, "id");
        let (id, span, from) = match id {
            Some(at) => (at.value.to_owned(), at.span, ""),
            None => (host_name(), section.span().clone(), " (the host name)"),
        };
        if let Err(reason) = check_id(&id) {
            r.problem(&span, section.key("id"), format!("\"{id}\"{from} {reason}"));
        }
        self.data_dir(&mut section);
        let r = &mut self.reader;
        let status_interval = section.duration(r, "status_interval", STATUS_INTERVAL, STATUS_INTERVALS);
        let mut groups = Vec::new();
        for At { value, span } in section.strings(r, "groups") {
            let reason = match value {
                _ if !is_name(value) => "is no group's name; use a-z, 0-9 and -, up to 32",
                _ if groups.len() == GROUPS_MAX => "is one group too many; a gateway belongs to 16 at most",
                _ => {
                    groups.push(value.to_owned());
                    continue;
                }
            };
            r.problem(&span, section.key("groups"), format!("\"{value}\" {reason}"));
        }
        section.finish(r);
        (id, groups, status_interval)
    }

    fn broker(&mut self, root: &mut Section<'_, '_>) -> Option<Broker> {
        let mut section = root.table(&mut self.reader, "broker");
        if !section.is_present() {
            let remedy = "is missing; say where the sensors are: [broker] url = \"mqtt://127.0.0.1:1883\"";
            self.reader.problem(section.span(), "broker", remedy);
            return None;
        }
        let at = self.url(&mut section).and_then(|(found, span)| match found.scheme {
            "embedded" => self.embedded(&mut section, &found, &span).map(BrokerAt::Embedded),
            "mqtt" | "mqtts" => self.endpoint(&mut section, &found).map(BrokerAt::Remote),
            scheme => {
                let reason = format!("{scheme}:// is no broker; sensors speak mqtt:// or mqtts://");
                self.reader.problem(&span, "broker.url", reason);
                None
            }
        });
        let version = self.version(&mut section);
        let client_id = self.client_id(&mut section);
        let login = self.login(&mut section);
        let receive_max = section.number(&mut self.reader, "receive_max", 1..=u16::MAX, RECEIVE_MAX_DEFAULT);
        section.finish(&mut self.reader);
        Some(Broker { at: at?, version, client_id, login, receive_max })
    }

    pub fn url<'a>(&mut self, section: &mut Section<'a, '_>) -> Option<(Url<'a>, std::ops::Range<usize>)> {
        let Some(At { value, span }) = section.string(&mut self.reader, "url") else {
            if section.is_present() {
                let remedy = "is missing or not usable; write url = \"mqtt://host:1883\"";
                self.reader.problem(section.span(), section.key("url"), remedy);
            }
            return None;
        };
        match url::parse(value) {
            Ok(found) => Some((found, span)),
            Err(reason) => {
                self.reader.problem(&span, section.key("url"), reason);
                None
            }
        }
    }

    fn embedded(
        &mut self,
        section: &mut Section<'_, '_>,
        found: &Url<'_>,
        span: &std::ops::Range<usize>,
    ) -> Option<SocketAddr> {
        let tls = section.table(&mut self.reader, "tls");
        if tls.is_present() {
            self.reader.problem(tls.span(), "broker.tls", "the embedded broker has no TLS; remove it or run a broker");
        }
        match found.host.parse::<IpAddr>() {
            Ok(ip) => Some(SocketAddr::new(ip, found.port.unwrap_or(1883))),
            Err(_) => {
                let remedy = "needs an address to listen on, not a name; write for example embedded://0.0.0.0:1883";
                self.reader.problem(span, "broker.url", remedy);
                None
            }
        }
    }

    pub fn endpoint(&mut self, section: &mut Section<'_, '_>, found: &Url<'_>) -> Option<Endpoint> {
        let mut table = section.table(&mut self.reader, "tls");
        let scheme = found.scheme;
        let (secure, usual) = match scheme {
            "mqtts" => (true, 8883),
            "https" => (true, 443),
            "http" => (false, 80),
            _ => (false, 1883),
        };
        if table.is_present() && !secure {
            let key = table.key("").trim_end_matches('.').to_owned();
            let reason = format!("has no effect on {scheme}://; use {scheme}s:// or remove it");
            self.reader.problem(table.span(), key, reason);
        }
        let [ca, cert, key] = ["ca", "cert", "key"].map(|key| table.string(&mut self.reader, key));
        let place = [&ca, &cert, &key].map(|at| at.as_ref().map_or(table.span().clone(), |at| at.span.clone()));
        let [ca, cert, key] = [ca, cert, key].map(|at| at.map(|at| self.base.join(at.value)));
        let mut tls = None;
        if secure && ServerName::try_from(found.host).is_err() {
            let key = if section.has("endpoint") { "endpoint" } else { "url" };
            let reason = format!("\"{}\" can stand in no certificate; write the server's name", found.host);
            self.reader.problem(&section.span_of(key), section.key(key), reason);
        }
        if secure {
            match transport::tls(&TlsFiles { ca, cert, key }) {
                Ok(config) => tls = Some(config),
                Err(errors) => {
                    let [at_ca, at_cert, at_key] = &place;
                    for error in errors {
                        let span = match error.key {
                            "cert" => at_cert,
                            "key" => at_key,
                            _ => at_ca,
                        };
                        self.reader.problem(span, table.key(error.key), error.reason);
                    }
                }
            }
        }
        table.finish(&mut self.reader);
        Some(Endpoint { host: found.host.to_owned(), port: found.port.unwrap_or(usual), tls })
    }

    pub fn version(&mut self, section: &mut Section<'_, '_>) -> Version {
        match section.number(&mut self.reader, "protocol", 4..=5, 5) {
            4 => Version::V4,
            _ => Version::V5,
        }
    }

    pub fn client_id(&mut self, section: &mut Section<'_, '_>) -> Option<String> {
        section.parsed(&mut self.reader, "client_id", None, |text| {
            if text.is_empty() || text.len() > CLIENT_ID_MAX_BYTES || text.chars().any(char::is_control) {
                return Err(format!("is not a client id; write 1 to {CLIENT_ID_MAX_BYTES} printable characters"));
            }
            Ok(Some(text.to_owned()))
        })
    }

    fn functions(&mut self, root: &mut Section<'_, '_>) -> Vec<FunctionFile> {
        let mut functions = Vec::new();
        for (index, mut section) in root.tables(&mut self.reader, "function").into_iter().enumerate() {
            if index == FUNCTIONS_MAX {
                self.reader.problem(section.span(), "function", format!("one too many; at most {FUNCTIONS_MAX}"));
            }
            match section.string(&mut self.reader, "path") {
                Some(_) if index >= FUNCTIONS_MAX => {}
                Some(at) => {
                    let line = self.reader.line(&at.span);
                    functions.push(FunctionFile { path: self.base.join(at.value), line });
                }
                None => self.reader.problem(section.span(), "function.path", "is missing; name the .wasm file"),
            }
            section.finish(&mut self.reader);
        }
        functions
    }
}

fn host_name() -> String {
    let read = |file| std::fs::read_to_string(file).ok();
    let name = read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname"));
    name.map_or_else(String::new, |name| name.trim().to_owned())
}

fn check_id(id: &str) -> Result<(), String> {
    let bad = |c: char| matches!(c, '/' | '+' | '#' | '$') || c.is_control() || c.is_whitespace();
    if id.is_empty() || id.len() > ID_MAX_BYTES || id.starts_with('@') || id.chars().any(bad) {
        return Err(format!(
            "cannot be a gateway id; set 1 to {ID_MAX_BYTES} bytes without / + # $, spaces, or @ in front"
        ));
    }
    Ok(())
}
