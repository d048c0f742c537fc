//! `gateway.toml`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What a test wants to say in a `gateway.toml`.
#[derive(Clone, Debug)]
pub struct Config {
    /// `gateway.id`.
    pub id: String,
    /// `gateway.data_dir`.
    pub data_dir: PathBuf,
    /// `broker.url`.
    pub broker_url: String,
    /// `broker.ca`, of `mqtts://`.
    pub broker_ca: Option<PathBuf>,
    /// `broker.protocol`.
    pub protocol: u8,
    /// `[[uplink]]`.
    pub uplinks: Vec<Uplink>,
    /// `[spool]`: lines as they stand.
    pub spool: String,
    /// `[[function]]`: paths.
    pub functions: Vec<PathBuf>,
    /// `trust.allow_unsigned`.
    pub allow_unsigned: bool,
    /// Text at the end.
    pub more: String,
    /// `trust.keys`.
    pub trust_keys: Vec<String>,
    /// `gateway.groups`.
    pub groups: Vec<String>,
}

/// One `[[uplink]]`.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// `name`.
    pub name: String,
    /// `url`.
    pub url: String,
    /// `topics`.
    pub topics: Vec<String>,
    /// `tls.ca`.
    pub ca: Option<PathBuf>,
    /// Lines at the end, as they stand: other keys, and routes after them.
    pub more: String,
}

impl Uplink {
    /// The uplink `cloud`, for `cloud/#`.
    pub fn cloud(url: String) -> Self {
        Self { name: "cloud".into(), url, topics: vec!["cloud/#".into()], ca: None, more: String::new() }
    }
}

impl Config {
    /// No uplink, no function, MQTT 5.
    pub fn new(id: &str, data_dir: &Path, broker_url: String) -> Self {
        Self {
            id: id.into(),
            data_dir: data_dir.into(),
            broker_url,
            broker_ca: None,
            protocol: 5,
            uplinks: Vec::new(),
            spool: String::new(),
            functions: Vec::new(),
            allow_unsigned: true,
            more: String::new(),
            trust_keys: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = format!(
            "[gateway]\nid = {:?}\ngroups = {:?}\ndata_dir = {:?}\nstatus_interval = \"1s\"\n\n[broker]\nurl = {:?}\n\
             protocol = {}\n",
            self.id, self.groups, self.data_dir, self.broker_url, self.protocol
        );
        // Writing to a String cannot fail.
        if let Some(ca) = &self.broker_ca {
            let _ = write!(text, "\n[broker.tls]\nca = {ca:?}\n");
        }
        for uplink in &self.uplinks {
            let Uplink { name, url, topics, ca, more } = uplink;
            let _ = write!(text, "\n[[uplink]]\nname = {name:?}\nurl = {url:?}\ntopics = {topics:?}\n");
            if let Some(ca) = ca {
                let _ = writeln!(text, "tls = {{ ca = {ca:?} }}");
            }
            text += more;
        }
        if !self.spool.is_empty() {
            let _ = write!(text, "\n[spool]\n{}\n", self.spool);
        }
        let _ = write!(text, "\n[trust]\nallow_unsigned = {}\nkeys = {:?}\n", self.allow_unsigned, self.trust_keys);
        for path in &self.functions {
            let _ = write!(text, "\n[[function]]\npath = {path:?}\n");
        }
        text + &self.more
    }
}
