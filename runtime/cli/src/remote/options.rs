//! Options that all commands for gateways elsewhere share.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use eyot_gateway::config::{url, Secret, USERNAME_MAX_BYTES};
use eyot_gateway::mqtt::transport::{tls, Endpoint, TlsError, TlsFiles};
use eyot_gateway::mqtt::Version;
use eyot_trust::sign::Signer;
use eyot_wire::control::GROUP_MAX_BYTES;

use crate::error::Error;
use crate::keys;
use crate::output::shown;

/// Names the broker where none is given.
const BROKER_ENV: &str = "EYOT_BROKER";
const BROKER_DEFAULT: &str = "mqtt://127.0.0.1:1883";
/// Names the gateway where none is given.
const GATEWAY_ENV: &str = "EYOT_GATEWAY";
/// Names the private key where none is given.
const KEY_ENV: &str = "EYOT_KEY";
/// Has the password where no file is given.
const PASSWORD_ENV: &str = "EYOT_PASSWORD";
/// Longest id of a gateway.
const GATEWAY_MAX_BYTES: usize = 64;
const PORT: u16 = 1883;
const PORT_TLS: u16 = 8883;

/// Where the broker is, and who we are there.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = HEADING)]
pub struct Connection {
    /// The broker: mqtt://[user@]host[:port], or mqtts:// for TLS [default: $EYOT_BROKER, or mqtt://127.0.0.1:1883].
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// PEM file with the authorities to trust for mqtts:// [default: the system's].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file with our certificate, for brokers that ask for one.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert: Option<PathBuf>,
    /// PEM file with its private key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key_file: Option<PathBuf>,
    /// User name, if it cannot stand in the URL.
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// File with the password [default: $EYOT_PASSWORD].
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Client id, for brokers that let in only some [default: eyot-cli- and random digits].
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// MQTT 5, or 4 for MQTT 3.1.1.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(4..=5))]
    protocol: u8,
    /// How long to wait for an answer, or for anything to go on.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// What help has the options of a [`Connection`] under.
const HEADING: &str = "Connection";

/// For a command that goes to a broker only with --gateway: an option that would do nothing is an error without it. Those in
/// `except` do something.
pub fn only_with_gateway(arg: clap::Arg, except: &[&str]) -> clap::Arg {
    let is_useless = arg.get_help_heading() == Some(HEADING) && !except.contains(&arg.get_id().as_str());
    if is_useless {
        arg.requires("gateway")
    } else {
        arg
    }
}

/// The connection as it is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For messages.
    pub url: String,
    pub endpoint: Endpoint,
    pub login: Option<(String, String)>,
    pub client_id: String,
    pub version: Version,
}

impl Connection {
    /// To this broker, as nobody in particular.
    pub fn plain(url: String, timeout: Duration) -> Self {
        let (broker, protocol) = (Some(url), 5);
        let (ca, cert, key_file, username, password_file, client_id) = (None, None, None, None, None, None);
        Self { broker, ca, cert, key_file, username, password_file, client_id, protocol, timeout }
    }

    /// Reads what they name.
    ///
    /// # Errors
    /// The URL is none of a broker, or a file cannot be used.
    pub fn settings(&self) -> Result<Settings, Error> {
        let url = self.broker.clone().or_else(|| set(BROKER_ENV)).unwrap_or_else(|| BROKER_DEFAULT.to_owned());
        let (user, url) = split_user(&url)?;
        let endpoint = self.endpoint(&url)?;
        let digits = || format!("eyot-cli-{:08x}", fastrand::u32(..));
        Ok(Settings {
            endpoint,
            login: self.login(user)?,
            client_id: self.client_id.clone().unwrap_or_else(digits),
            version: if self.protocol == 4 { Version::V4 } else { Version::V5 },
            url,
        })
    }

    fn endpoint(&self, text: &str) -> Result<Endpoint, Error> {
        let bad = |reason: String| Error::bad_input("--broker", reason, "see --help for its form");
        let url = url::parse(text).map_err(bad)?;
        let files = TlsFiles { ca: self.ca.clone(), cert: self.cert.clone(), key: self.key_file.clone() };
        let (port, tls) = match url.scheme {
            "mqtt" if files == TlsFiles::default() => (PORT, None),
            "mqtt" => return Err(bad("is mqtt://, and files for TLS are given; write mqtts://".to_owned())),
            "mqtts" => {
                let tls = tls(&files).map_err(|errors| unusable(&errors))?;
                (PORT_TLS, Some(tls))
            }
            other => return Err(bad(format!("\"{other}://\" is no broker to connect to; write mqtt:// or mqtts://"))),
        };
        Ok(Endpoint { host: url.host.to_owned(), port: url.port.unwrap_or(port), tls })
    }

    fn login(&self, user: Option<String>) -> Result<Option<(String, String)>, Error> {
        let user = match (&self.username, user) {
            (Some(_), Some(_)) => {
                return Err(Error::bad_input("--username", "the URL has a user too", "leave one of them out"));
            }
            (given, in_url) => given.clone().or(in_url),
        };
        let secret = self.password_file.clone().map(Secret::File).or_else(|| set(PASSWORD_ENV).map(Secret::Value));
        let Some(user) = user else {
            return match self.password_file {
                None => Ok(None),
                Some(_) => Err(Error::bad_input("--password-file", "there is no user name", "give --username")),
            };
        };
        if user.is_empty() || user.len() > USERNAME_MAX_BYTES || user.chars().any(char::is_control) {
            return Err(Error::bad_input("user name", "is empty, too long or not printable", "give another"));
        }
        let password = secret.map(|secret| secret.read()).transpose();
        let password =
            password.map_err(|reason| Error::bad_input("--password-file", reason, "or set EYOT_PASSWORD"))?;
        Ok(Some((user, password.unwrap_or_default())))
    }
}

/// All that is wrong with the files for TLS.
fn unusable(errors: &[TlsError]) -> Error {
    let files: Vec<_> = errors.iter().map(|error| option(error.key)).collect();
    let reasons: Vec<_> = errors.iter().map(|error| error.reason.as_str()).collect();
    Error::bad_input(files.join(", "), reasons.join("; "), "see --help")
}

/// The option that a key of `[….tls]` is called here.
fn option(key: &str) -> &'static str {
    match key {
        "cert" => "--cert",
        "key" => "--key-file",
        _ => "--ca",
    }
}

/// A variable of the environment that is not empty.
fn set(key: &str) -> Option<String> {
    env::var(key).ok().filter(|value| !value.is_empty())
}

/// The user in a URL, and the URL without it.
fn split_user(url: &str) -> Result<(Option<String>, String), Error> {
    let Some((scheme, rest)) = url.split_once("://") else { return Ok((None, url.to_owned())) };
    let Some((user, host)) = rest.rsplit_once('@') else { return Ok((None, url.to_owned())) };
    if user.contains(':') {
        return Err(Error::bad_input(
            "--broker",
            "has a password, which others see in the list of processes",
            "use --password-file or EYOT_PASSWORD",
        ));
    }
    Ok((Some(user.to_owned()), format!("{scheme}://{host}")))
}

/// Which gateways are meant.
#[derive(clap::Args, Clone, Debug)]
pub struct Target {
    /// Id of the gateway [default: $EYOT_GATEWAY].
    #[arg(long, short, value_name = "ID", conflicts_with = "group")]
    gateway: Option<String>,
    /// All gateways that have this group in `groups` of their gateway.toml.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
}

/// One gateway, or all of a group, by what it is called on control topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(String);

impl Target {
    /// Whether anybody is named by an option.
    pub fn is_given(&self) -> bool {
        self.gateway.is_some() || self.group.is_some()
    }

    /// Who is meant.
    ///
    /// # Errors
    /// Nobody is, or the name can be none.
    pub fn id(&self) -> Result<Id, Error> {
        match &self.group {
            Some(group) => {
                let group = group.trim_start_matches('@');
                check("--group", group, GROUP_MAX_BYTES).map(|()| Id(format!("@{group}")))
            }
            None => gateway(self.gateway.as_deref()),
        }
    }
}

/// The gateway that is meant.
///
/// # Errors
/// None is, or the name can be none.
pub fn gateway(given: Option<&str>) -> Result<Id, Error> {
    let named = given.map(str::to_owned).or_else(|| set(GATEWAY_ENV));
    let Some(id) = named else {
        let remedy = format!("give --gateway ID, or set {GATEWAY_ENV}; `eyot list` shows those there are");
        return Err(Error::bad_input("gateway", "none is named", remedy));
    };
    check("--gateway", &id, GATEWAY_MAX_BYTES).map(|()| Id(id))
}

fn check(option: &str, name: &str, most_bytes: usize) -> Result<(), Error> {
    let is_level = !name.contains(['/', '+', '#', '@']) && !name.chars().any(char::is_control);
    if is_level && (1..=most_bytes).contains(&name.len()) {
        return Ok(());
    }
    let reason = format!("\"{}\" is no name of one level of a topic", shown(name.as_bytes()));
    Err(Error::bad_input(option, reason, format!("give 1 to {most_bytes} bytes without / + # @")))
}

impl Id {
    /// As it stands in topics that are sent to.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The group, if it is one.
    pub fn group(&self) -> Option<&str> {
        self.0.strip_prefix('@')
    }

    /// As it stands in filters of topics that are heard from those meant.
    pub fn from(&self) -> &str {
        match self.group() {
            Some(_) => "+",
            None => &self.0,
        }
    }
}

/// The private key to sign with, if one is named.
///
/// # Errors
/// It cannot be read, or is none.
pub fn signer(given: Option<&Path>) -> Result<Option<Signer>, Error> {
    let named = given.map(Path::to_owned).or_else(|| set(KEY_ENV).map(PathBuf::from));
    named.as_deref().map(keys::read_signer).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_may_stand_in_the_url_and_a_password_may_not() {
        let split = |url| split_user(url).ok();
        assert_eq!(split("mqtt://ada@host:1"), Some((Some("ada".to_owned()), "mqtt://host:1".to_owned())));
        assert_eq!(split("mqtt://a@b@host"), Some((Some("a@b".to_owned()), "mqtt://host".to_owned())));
        assert_eq!(split("mqtt://host"), Some((None, "mqtt://host".to_owned())));
        assert_eq!(split("mqtt://ada:secret@host"), None);
    }

    #[test]
    fn a_target_is_one_level_of_a_topic() {
        let id = |gateway: Option<&str>, group: Option<&str>| {
            let target = Target { gateway: gateway.map(str::to_owned), group: group.map(str::to_owned) };
            target.id().ok().map(|id| (id.as_str().to_owned(), id.from().to_owned()))
        };
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(id(Some("barn-7"), None), pair("barn-7", "barn-7"));
        assert_eq!(id(None, Some("barns")), pair("@barns", "+"));
        assert_eq!(id(None, Some("@barns")), pair("@barns", "+"));
        for bad in ["", "a/b", "+", "#", "@x", "a\n"] {
            assert_eq!(id(Some(bad), None), None, "{bad:?}");
        }
    }
}
