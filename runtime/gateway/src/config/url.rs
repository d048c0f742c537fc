//! The URLs of brokers and uplinks.

/// What comes before `://`, and where it leads.
#[derive(Debug, PartialEq, Eq)]
pub struct Url<'t> {
    /// Scheme, as written.
    pub scheme: &'t str,
    /// Host name or address, without brackets.
    pub host: &'t str,
    /// Port, if one is written.
    pub port: Option<u16>,
}

/// Reads `scheme://host[:port]`; the error says what is wrong and what to do.
pub fn parse(text: &str) -> Result<Url<'_>, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("\"{text}\" is not a URL; write for example \"mqtt://127.0.0.1:1883\""));
    };
    match scheme {
        "mqtt" | "mqtts" | "embedded" => {}
        "http" | "https" | "s3" | "file" => {
            return Err(format!("{scheme}:// is not supported by this version; use mqtt:// or mqtts://"));
        }
        _ => return Err(format!("scheme \"{scheme}\" is unknown; use mqtt:// or mqtts://")),
    }
    if rest.contains('@') {
        return Err(
            "holds credentials; secrets are never inline: use username and password_file or password_env".into()
        );
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, port.strip_prefix(':').or(Some("bad"))),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(usable) {
        return Err(format!("\"{text}\" names no host; write for example \"{scheme}://broker.example:1883\""));
    }
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) => Some(port),
        Some(Err(_)) => {
            return Err(format!("\"{text}\" has no valid port; write a number from 1 to 65535 after the host"))
        }
    };
    Ok(Url { scheme, host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_or_refused_with_a_remedy() {
        for (text, scheme, host, port) in [
            ("mqtt://127.0.0.1:1883", "mqtt", "127.0.0.1", Some(1883)),
            ("mqtts://cloud.example", "mqtts", "cloud.example", None),
            ("mqtts://cloud.example:8883/", "mqtts", "cloud.example", Some(8883)),
            ("mqtt://[::1]:1883", "mqtt", "::1", Some(1883)),
            ("embedded://[::]", "embedded", "::", None),
        ] {
            assert_eq!(parse(text), Ok(Url { scheme, host, port }), "{text}");
        }
        for (text, needle) in [
            ("127.0.0.1:1883", "not a URL"),
            ("mqt://x", "unknown"),
            ("https://x", "not supported by this version"),
            ("s3://bucket/prefix", "not supported by this version"),
            ("mqtt://ada:secret@x", "password_file"),
            ("mqtt://:1883", "no host"),
            ("mqtt://x:99999", "port"),
            ("mqtt://[::1]1883", "port"),
            ("mqtt://x/y", "no host"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(needle), "{text}: {error}");
            assert!(!error.contains("secret@"), "secrets are not repeated");
        }
    }
}
