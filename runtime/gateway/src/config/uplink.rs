//! `[[uplink]]`: what all kinds share, and what each kind has of its own.

use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use super::data_dir::resolved;
use super::delivery::delivery;
use super::read::Walk;
use super::secret::Keys;
use super::section::{size, At, Reader, Section};
#[cfg(feature = "s3")]
use super::url;
use super::url::Url;
use super::{BrokerAt, Mqtt, Uplink, UplinkAt};
use crate::mqtt::inflight::WINDOW_MAX;
use crate::mqtt::transport::Endpoint;
use crate::uplink::batch::{Limits, BATCH_MAX};
use crate::uplink::body::{Compress, Format};
#[cfg(feature = "s3")]
use crate::uplink::s3;
use crate::uplink::{file, http, Place};
use eyot_core::config::UPLINKS_MAX;

/// Name of the stream to the local broker; no uplink can have it.
pub const LOCAL: &str = "local";

const LINGERS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_600);
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const TIMEOUT: Duration = Duration::from_secs(30);
const BATCH_BYTES: RangeInclusive<u64> = 1 << 10..=64 << 20;
// Two batches and the text of one are in memory at a time: small enough for the 12 MB that a backlog may take. With
// zstd it is 3 MB more than with gzip.
const HTTP: Limits =
    Limits { batch_max: 500, batch_max_bytes: 512 << 10, linger: Duration::from_secs(1), by_day: false };
#[cfg(feature = "s3")]
const S3: Limits =
    Limits { batch_max: 10_000, batch_max_bytes: 512 << 10, linger: Duration::from_secs(60), by_day: true };
const FILE: Limits =
    Limits { batch_max: 1_000, batch_max_bytes: 512 << 10, linger: Duration::from_secs(1), by_day: false };
#[cfg(feature = "s3")]
const REGION: &str = "us-east-1";
#[cfg(feature = "s3")]
const REGION_MAX_BYTES: usize = 64;
#[cfg(feature = "s3")]
const ACCESS_KEY_MAX_BYTES: usize = 128;
const ROTATE_BYTES: u64 = 64 << 20;
const ROTATIONS_BYTES: RangeInclusive<u64> = 64 << 10..=1 << 30;
const ROTATE_EVERY: Duration = Duration::from_secs(86_400);
const ROTATIONS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(366 * 86_400);
#[cfg(feature = "s3")]
const SECRET_KEY: Keys = Keys("secret_key", "secret_key_file", "secret_key_env");
const TOKEN: Keys = Keys("token", "token_file", "token_env");

/// Whether an uplink leads to the gateway's own broker, as far as its name tells.
fn is_local(uplink: &Endpoint, local: Option<&BrokerAt>) -> bool {
    let is_loopback =
        |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let (host, port) = match local {
        Some(BrokerAt::Remote(endpoint)) => (endpoint.host.clone(), endpoint.port),
        Some(BrokerAt::Embedded(address)) if address.ip().is_unspecified() => ("localhost".to_owned(), address.port()),
        Some(BrokerAt::Embedded(address)) => (address.ip().to_string(), address.port()),
        None => return false,
    };
    let same_host = host.eq_ignore_ascii_case(&uplink.host) || is_loopback(&host) && is_loopback(&uplink.host);
    same_host && uplink.port == port
}

impl Walk<'_> {
    pub fn uplinks(&mut self, root: &mut Section<'_, '_>, local: Option<&BrokerAt>) -> Vec<Uplink> {
        let sections = root.tables(&mut self.reader, "uplink");
        let mut uplinks: Vec<Uplink> = Vec::new();
        let mut names = Vec::new();
        let mut streams = 1;
        for (index, mut section) in sections.into_iter().enumerate() {
            if index == UPLINKS_MAX {
                let reason = format!("one too many; at most {UPLINKS_MAX}");
                self.reader.problem(section.span(), "uplink", reason);
            }
            let name = self.uplink_name(&mut section, &names);
            names.push(name.clone());
            let delivery = delivery(&name, &mut section, &mut self.reader, &mut streams);
            if delivery.backlog_max_bytes.is_some_and(|bytes| bytes >= self.log_max_bytes) {
                let reason = "is no less than spool.max_bytes: the log is full before; lower it, or remove it";
                self.reader.warning(&section.span_of("max_backlog"), section.key("max_backlog"), reason);
            }
            let Some((found, span)) = self.url(&mut section) else { continue };
            if !delivery.down.is_empty() && !found.scheme.starts_with("mqtt") {
                let reason = format!("nothing comes down over {}://; remove it or use mqtts://", found.scheme);
                self.reader.problem(&section.span_of("down"), section.key("down"), reason);
            }
            let control = self.control(&mut section, found.scheme);
            let at = match found.scheme {
                "http" | "https" => self.http(&mut section, &found),
                "s3" => self.s3(&mut section, &found, &span),
                "file" => self.file(&mut section, &found),
                "mqtt" | "mqtts" => self.mqtt(&mut section, &found),
                _ => {
                    self.reader.problem(&span, section.key("url"), "an uplink is not in this process; use mqtt://");
                    continue;
                }
            };
            let is_loop = matches!(&at, Some(UplinkAt::Mqtt(mqtt)) if is_local(&mqtt.endpoint, local));
            if is_loop && !delivery.down.is_empty() {
                let reason = "comes from the local broker itself, and would come again for ever; remove it";
                self.reader.problem(&section.span_of("down"), section.key("down"), reason);
            }
            section.finish(&mut self.reader);
            let Some(at) = at else { continue };
            let (batch_max, proven_by_answer) = match &at {
                UplinkAt::Store(place, limits) => (Some(limits.batch_max), !place.proves_itself()),
                UplinkAt::Mqtt(_) => (None, false),
            };
            let delivery = eyot_core::config::Uplink { batch_max, proven_by_answer, control, ..delivery };
            uplinks.push(Uplink { name, delivery, at });
        }
        uplinks
    }

    /// Whether control messages are taken from it.
    fn control(&mut self, section: &mut Section<'_, '_>, scheme: &str) -> bool {
        let is_broker = scheme.starts_with("mqtt");
        if !is_broker && section.has("control") {
            let reason = format!("no push and no command comes over {scheme}://; remove it or use mqtts://");
            self.reader.problem(&section.span_of("control"), section.key("control"), reason);
        }
        section.boolean(&mut self.reader, "control").unwrap_or(true) && is_broker
    }

    fn mqtt(&mut self, section: &mut Section<'_, '_>, found: &Url<'_>) -> Option<UplinkAt> {
        let endpoint = self.endpoint(section, found);
        let version = self.version(section);
        let client_id = self.client_id(section);
        let login = self.login(section);
        let inflight = section.number(&mut self.reader, "inflight", 1..=WINDOW_MAX, 500);
        let envelope = section.parsed(&mut self.reader, "envelope", false, |text| match text {
            "json" => Ok(true),
            _ => Err(format!("\"{text}\" is unknown; write \"json\" or remove the key")),
        });
        endpoint.map(|endpoint| UplinkAt::Mqtt(Mqtt { endpoint, version, client_id, login, inflight, envelope }))
    }

    fn http(&mut self, section: &mut Section<'_, '_>, found: &Url<'_>) -> Option<UplinkAt> {
        let endpoint = self.endpoint(section, found);
        let limits = self.limits(section, HTTP);
        let format = section.parsed(&mut self.reader, "format", Format::Ndjson, |text| match text {
            "ndjson" => Ok(Format::Ndjson),
            "json" => Ok(Format::Json),
            _ => Err(format!("\"{text}\" is unknown; write \"ndjson\" or \"json\"")),
        });
        let compress = compress(section, &mut self.reader, Compress::None);
        let token = self.secret(section, &TOKEN);
        let timeout = section.duration(&mut self.reader, "timeout", TIMEOUT, TIMEOUTS);
        let token = token.ok()?.map(|found| found.secret);
        let path = match found.path {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        let options = http::Options { endpoint: endpoint?, path, format, compress, token, timeout };
        Some(UplinkAt::Store(Place::Http(options), limits))
    }

    #[cfg(not(feature = "s3"))]
    fn s3(&mut self, section: &mut Section<'_, '_>, _: &Url<'_>, span: &Range<usize>) -> Option<UplinkAt> {
        let remedy = "is s3://, which this eyotd was built without; install one with the feature \"s3\"";
        self.reader.problem(span, section.key("url"), remedy);
        None
    }

    #[cfg(feature = "s3")]
    fn s3(&mut self, section: &mut Section<'_, '_>, found: &Url<'_>, span: &Range<usize>) -> Option<UplinkAt> {
        if found.port.is_some() {
            let remedy = "names a bucket, which has no port; name the server with endpoint = \"https://host:port\"";
            self.reader.problem(span, section.key("url"), remedy);
        }
        let region = section.parsed(&mut self.reader, "region", REGION.to_owned(), |text| match text.len() {
            1..=REGION_MAX_BYTES if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) => {
                Ok(text.to_owned())
            }
            _ => Err(format!("\"{text}\" is no region; write that of the bucket, as \"{REGION}\"")),
        });
        let amazon = format!("https://s3.{region}.amazonaws.com");
        let server = section.string(&mut self.reader, "endpoint");
        let (server, server_span) = server.map_or((amazon.as_str(), span.clone()), |at| (at.value, at.span));
        let endpoint = match url::parse(server) {
            Ok(server) if matches!(server.scheme, "http" | "https") && server.path.len() < 2 => {
                self.endpoint(section, &server)
            }
            _ => {
                let remedy = "is no server; write for example \"https://minio.example:9000\"";
                self.reader.problem(&server_span, section.key("endpoint"), format!("\"{server}\" {remedy}"));
                None
            }
        };
        let limits = self.limits(section, S3);
        let compress = compress(section, &mut self.reader, Compress::Zstd);
        let access_key = section.parsed(&mut self.reader, "access_key", None, |text| match text.len() {
            1..=ACCESS_KEY_MAX_BYTES if text.bytes().all(|b| b.is_ascii_graphic()) => Ok(Some(text.to_owned())),
            _ => Err(format!("is no access key; write 1 to {ACCESS_KEY_MAX_BYTES} characters without spaces")),
        });
        let secret_key = self.secret(section, &SECRET_KEY);
        let timeout = section.duration(&mut self.reader, "timeout", TIMEOUT, TIMEOUTS);
        let secret_key = secret_key.ok()?.map(|found| found.secret);
        if access_key.is_none() && section.has("access_key") {
            return None;
        }
        let (Some(access_key), Some(secret_key)) = (access_key, secret_key) else {
            let remedy = "is missing; write access_key, and secret_key_file or secret_key_env";
            self.reader.problem(section.span(), section.key("access_key"), remedy);
            return None;
        };
        let (bucket, prefix) = (found.host.to_owned(), found.path.trim_matches('/').to_owned());
        let endpoint = endpoint?;
        let options = s3::Options { endpoint, bucket, prefix, region, access_key, secret_key, compress, timeout };
        Some(UplinkAt::Store(Place::S3(options), limits))
    }

    fn file(&mut self, section: &mut Section<'_, '_>, found: &Url<'_>) -> Option<UplinkAt> {
        self.directory(section, Path::new(found.path));
        let r = &mut self.reader;
        let rotate_bytes = section.parsed(r, "rotate_bytes", ROTATE_BYTES, |text| size(text, &ROTATIONS_BYTES));
        let rotate_every = section.duration(r, "rotate_every", ROTATE_EVERY, ROTATIONS);
        // All are kept unless it is said: whoever collects them removes them.
        let keep = Some(section.number(r, "keep", 1..=u16::MAX, 0)).filter(|keep| *keep > 0);
        let batch_max_bytes = usize::try_from(rotate_bytes).unwrap_or(usize::MAX).min(FILE.batch_max_bytes);
        let limits = self.limits(section, Limits { batch_max_bytes, ..FILE });
        if limits.batch_max_bytes as u64 > rotate_bytes {
            let reason = "is more than rotate_bytes, the largest file; lower it, or raise that";
            self.reader.problem(&section.span_of("batch_bytes"), section.key("batch_bytes"), reason);
        }
        let options = file::Options { dir: found.path.into(), rotate_bytes, rotate_every, keep };
        Some(UplinkAt::Store(Place::File(options), limits))
    }

    /// What can be said of the directory of a file uplink before anything is written there.
    fn directory(&mut self, section: &Section<'_, '_>, dir: &Path) {
        let (span, key, shown) = (section.span_of("url"), section.key("url"), dir.display());
        if resolved(dir).starts_with(resolved(&self.data_dir)) {
            let reason = format!("{shown} is in data_dir, which is the log's alone; name a directory beside it");
            self.reader.problem(&span, key, reason);
        } else if dir.exists() && !dir.is_dir() {
            self.reader.problem(&span, key, format!("{shown} is no directory; name one"));
        } else if !dir.exists() {
            let reason = format!("{shown} does not exist; outputs wait until it is made, or what holds it is mounted");
            self.reader.warning(&span, key, reason);
        }
    }

    /// `batch_max`, `batch_bytes` and `linger`.
    fn limits(&mut self, section: &mut Section<'_, '_>, default: Limits) -> Limits {
        let r = &mut self.reader;
        let batch_max = section.number(r, "batch_max", 1..=BATCH_MAX, default.batch_max);
        let batch_max_bytes = section.parsed(r, "batch_bytes", default.batch_max_bytes, |text| {
            let bytes = size(text, &BATCH_BYTES)?;
            usize::try_from(bytes).map_err(|_| "is more than this machine can address; write less".to_owned())
        });
        let linger = section.duration(r, "linger", default.linger, LINGERS);
        Limits { batch_max, batch_max_bytes, linger, ..default }
    }

    fn uplink_name(&mut self, section: &mut Section<'_, '_>, names: &[String]) -> String {
        let Some(At { value: name, span }) = section.string(&mut self.reader, "name") else {
            let remedy = "is missing; name the uplink, for example \"cloud\"";
            self.reader.problem(section.span(), section.key("name"), remedy);
            return String::new();
        };
        let reason = if !eyot_wire::manifest::is_name(name) {
            "is not a name; write 1 to 32 characters of a-z, 0-9 and -"
        } else if name == LOCAL {
            "is the name of the local broker; choose another"
        } else if names.iter().any(|other| other == name) {
            "is the name of another uplink; choose another"
        } else {
            return name.to_owned();
        };
        self.reader.problem(&span, section.key("name"), format!("\"{name}\" {reason}"));
        name.to_owned()
    }
}

fn compress(section: &mut Section<'_, '_>, reader: &mut Reader<'_>, default: Compress) -> Compress {
    section.parsed(reader, "compress", default, |text| match text {
        "none" => Ok(Compress::None),
        "gzip" => Ok(Compress::Gzip),
        "zstd" => Ok(Compress::Zstd),
        _ => Err(format!("\"{text}\" is unknown; write \"none\", \"gzip\" or \"zstd\"")),
    })
}
