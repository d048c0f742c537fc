//! The URLs of brokers and uplinks.

use std::net::Ipv6Addr;

/// Longest name in DNS.
const HOST_MAX_BYTES: usize = 253;

/// What comes before `://`, and where it leads.
#[derive(Debug, PartialEq, Eq)]
pub struct Url<'t> {
    /// Scheme, as written.
    pub scheme: &'t str,
    /// Host name or address, without brackets; the bucket of `s3://`; empty for `file://`.
    pub host: &'t str,
    /// Port, if one is written.
    pub port: Option<u16>,
    /// What follows, with its `/`; empty for brokers.
    pub path: &'t str,
}

/// Reads `scheme://host[:port][/path]`; the error says what is wrong and what to do.
pub fn parse(text: &str) -> Result<Url<'_>, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("\"{text}\" is not a URL; write for example \"mqtt://127.0.0.1:1883\""));
    };
    if !matches!(scheme, "mqtt" | "mqtts" | "embedded" | "http" | "https" | "s3" | "file") {
        return Err(format!("scheme \"{scheme}\" is unknown; use one of mqtt, mqtts, http, https, s3, file"));
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("holds credentials; secrets are never inline: use the keys that name a file or a variable".into());
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, port.strip_prefix(':').or(Some("bad"))),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_host = match authority.starts_with('[') {
        true => host.parse::<Ipv6Addr>().is_ok(),
        false => (1..=HOST_MAX_BYTES).contains(&host.len()) && host.chars().all(usable),
    };
    match scheme {
        "file" if !authority.is_empty() || path.len() < 2 => {
            return Err(format!("\"{text}\" names no absolute path; write for example \"file:///var/lib/readings\""));
        }
        "file" if path.contains('\0') => return Err("holds a NUL, which no path may; remove it".to_owned()),
        "file" => {}
        _ if !is_host => {
            return Err(format!("\"{text}\" names no host; write for example \"{scheme}://cloud.example\""));
        }
        "mqtt" | "mqtts" | "embedded" if path.len() > 1 => {
            return Err(format!("\"{text}\" has a path, which a broker has not; remove \"{path}\""));
        }
        "http" | "https" if !path.bytes().all(|b| b.is_ascii_graphic() && !br##""#<>\^`{|}"##.contains(&b)) => {
            return Err(format!("\"{path}\" cannot stand in a URL; percent-encode it, and leave out any #"));
        }
        _ => {}
    }
    // Port 0 is for what listens: the system chooses one.
    let usable = |port: &u16| *port > 0 || scheme == "embedded";
    let digits = |port: &&str| port.bytes().all(|b| b.is_ascii_digit());
    let port = match port {
        None => None,
        Some(port) => match Some(port).filter(digits).and_then(|port| port.parse().ok()).filter(usable) {
            Some(port) => Some(port),
            None => {
                return Err(format!(
                    "\"{authority}\" has no valid port; write a number from 1 to 65535 behind the host"
                ));
            }
        },
    };
    Ok(Url { scheme, host, port, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_or_refused_with_a_remedy() {
        for (text, scheme, host, port, path) in [
            ("mqtt://127.0.0.1:1883", "mqtt", "127.0.0.1", Some(1883), ""),
            ("mqtts://cloud.example", "mqtts", "cloud.example", None, ""),
            ("mqtts://cloud.example:8883/", "mqtts", "cloud.example", Some(8883), "/"),
            ("mqtt://[::1]:1883", "mqtt", "::1", Some(1883), ""),
            ("embedded://[::]", "embedded", "::", None, ""),
            ("https://x.example/in?a=b@c", "https", "x.example", None, "/in?a=b@c"),
            ("http://[::1]:8080", "http", "::1", Some(8080), ""),
            ("file:///var/lib/my readings", "file", "", None, "/var/lib/my readings"),
            ("s3://bucket/pre/fix", "s3", "bucket", None, "/pre/fix"),
        ] {
            assert_eq!(parse(text), Ok(Url { scheme, host, port, path }), "{text}");
        }
        for (text, needle) in [
            ("127.0.0.1:1883", "not a URL"),
            ("mqt://x", "unknown"),
            ("mqtt://ada:secret@x", "never inline"),
            ("file://host/path", "absolute path"),
            ("file:///", "absolute path"),
            ("http:///path", "no host"),
            ("https://x/a b", "percent-encode"),
            ("https://x/a#b", "percent-encode"),
            ("https://x/ä", "percent-encode"),
            ("mqtt://:1883", "no host"),
            ("mqtt://x:99999", "port"),
            ("mqtt://[::1]1883", "port"),
            ("mqtt://x:0", "port"),
            ("mqtt://x:+5", "port"),
            ("mqtt://x:", "port"),
            ("mqtt://[foo]", "no host"),
            ("mqtt://[::1", "no host"),
            ("file:///a\0b", "NUL"),
            ("mqtt://x/y", "has a path"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(needle), "{text}: {error}");
            assert!(!error.contains("secret@"), "secrets are not repeated");
        }
    }
}
