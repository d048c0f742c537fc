//! `eyot image build --wifi`: the network that a gateway joins, as wpa_supplicant reads it.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::build::read;
use crate::error::Error;

/// Bytes of a network's name.
const NAME_MAX_BYTES: usize = 32;

#[derive(clap::Args)]
#[command(next_help_heading = "Wi-Fi")]
pub struct WifiArgs {
    /// The Wi-Fi that the gateway joins (WPA2); without it the image has no Wi-Fi.
    #[arg(long, value_name = "NAME", requires = "wifi_passphrase_file")]
    wifi: Option<String>,
    /// A file with its passphrase.
    #[arg(long, value_name = "FILE", requires = "wifi")]
    wifi_passphrase_file: Option<PathBuf>,
    /// The country it is in, such as DE: some frequencies are allowed in some countries only.
    #[arg(long, value_name = "COUNTRY", requires = "wifi")]
    wifi_country: Option<String>,
}

impl WifiArgs {
    /// Whether there is to be Wi-Fi.
    pub fn is_wanted(&self) -> bool {
        self.wifi.is_some()
    }

    /// The file for the card, if there is to be Wi-Fi.
    pub fn networks(&self) -> Result<Option<Vec<u8>>, Error> {
        let (Some(name), Some(file)) = (&self.wifi, &self.wifi_passphrase_file) else { return Ok(None) };
        let passphrase = read(file)?;
        let secret = secret(&passphrase).ok_or_else(|| {
            let remedy =
                "put the passphrase, of 8 to 63 characters of ASCII, or the key, of 64 hexadecimal digits, into it";
            Error::bad_input(file.display(), "has no passphrase of a Wi-Fi", remedy)
        })?;
        let mut text =
            "# The Wi-Fi of this gateway, for wpa_supplicant, whose manual says what else can stand here.\n".to_owned();
        if let Some(country) = &self.wifi_country {
            if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
                let remedy = "give the two capital letters of ISO 3166, such as DE";
                return Err(Error::bad_input(format_args!("--wifi-country {country}"), "is no country", remedy));
            }
            let _ = writeln!(text, "country={country}");
        }
        if name.is_empty() || name.len() > NAME_MAX_BYTES {
            let remedy = format!("give the network's name, of 1 to {NAME_MAX_BYTES} bytes");
            return Err(Error::bad_input(format_args!("--wifi {name:?}"), "is no name of a Wi-Fi", remedy));
        }
        let _ = write!(text, "network={{\n    ssid={}\n    psk={secret}\n}}\n", quoted(name));
        Ok(Some(text.into_bytes()))
    }
}

/// As wpa_supplicant takes names: in quotes, or, where these do not do, in hexadecimal digits.
fn quoted(name: &str) -> String {
    if is_printable(name) && !name.contains('"') {
        format!("\"{name}\"")
    } else {
        hex::encode(name)
    }
}

/// Whether it is ASCII without control characters.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// A passphrase in quotes, or a key as it is. None if it is neither.
fn secret(file: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(file).ok()?.trim_end_matches(['\r', '\n']);
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(text.to_owned());
    }
    let is_passphrase = (8..=63).contains(&text.len()) && is_printable(text);
    is_passphrase.then(|| format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(name: &str, passphrase: &str, country: Option<&str>) -> Result<String, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), passphrase).unwrap();
        let args = WifiArgs {
            wifi: Some(name.to_owned()),
            wifi_passphrase_file: Some(file.path().to_owned()),
            wifi_country: country.map(str::to_owned),
        };
        Ok(String::from_utf8(args.networks()?.unwrap()).unwrap())
    }

    #[test]
    fn a_network_is_written_as_wpa_supplicant_reads_it() {
        let text = networks("the barn", "correct \" horse\r\n", Some("DE")).unwrap();
        let end = "country=DE\nnetwork={\n    ssid=\"the barn\"\n    psk=\"correct \" horse\"\n}\n";
        assert!(text.starts_with("# ") && text.ends_with(end), "{text}");
        assert!(networks("grün\"", "12345678", None).unwrap().contains("ssid=6772c3bc6e22\n"));
        let key = "ab".repeat(32);
        assert!(networks("barn", &key, None).unwrap().contains(&format!("psk={key}\n")));
    }

    #[test]
    fn what_no_radio_would_join_is_refused() {
        for (name, passphrase, country, reason) in [
            ("barn", "1234567", None, "passphrase"),
            ("barn", "", None, "passphrase"),
            ("barn", "eight\nlines", None, "passphrase"),
            ("barn", "passphräse", None, "passphrase"),
            ("", "12345678", None, "no name"),
            (&"n".repeat(33), "12345678", None, "no name"),
            ("barn", "12345678", Some("de"), "no country"),
            ("barn", "12345678", Some("D\n"), "no country"),
        ] {
            let error = networks(name, passphrase, country).unwrap_err();
            assert!(format!("{error:?}").contains(reason), "{name} {passphrase} {country:?}: {error:?}");
        }
    }
}
