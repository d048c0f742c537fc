//! `[trust]` of `gateway.toml`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use eyot_gateway::config::{Config, ConfigError};
use eyot_trust::policy::{Expiry, Pattern, Policy, Role};

const ADA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEvK4mPjw7bFrrmfuyr9Hb7GYq6sLkhRbyFrzDhCbPzX ada@lab";
/// Another key, in hex, and its id.
const BOB: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn config(trust: &str) -> Result<Config, ConfigError> {
    let text = format!("[broker]\nurl = \"mqtt://b\"\n[gateway]\nid = 'x'\n{trust}");
    Config::parse(Path::new("/etc/eyot/gateway.toml"), &text)
}

fn parse(trust: &str) -> Result<Policy, ConfigError> {
    config(trust).map(|config| config.trust)
}

fn key(extra: &str) -> String {
    format!("[[trust.key]]\nkey = \"{ADA}\"\n{extra}")
}

#[test]
fn without_it_nobody_is_trusted() {
    assert_eq!(parse("").unwrap(), Policy::default());
    assert_eq!(parse("[trust]").unwrap(), Policy::default());
    for (trust, is_warned) in [
        ("", false),
        ("[trust]", true),
        ("[trust]\nkeys = []", true),
        ("[trust]\nallow_unsigned = true", false),
        (&key(""), false),
    ] {
        let about: Vec<_> = config(trust).unwrap().warnings.into_iter().filter(|w| w.key == "trust").collect();
        assert_eq!(about.len(), usize::from(is_warned), "{trust}: {about:?}");
        assert!(about.iter().all(|w| w.line == 5 && w.reason.contains("trusts nobody")), "{about:?}");
    }
    assert!(!Policy::default().allow_unsigned && Policy::default().grants.is_empty());
}

#[test]
fn all_of_it() {
    let text = format!(
        "[trust]\nkeys = [\"{BOB}\"]\nrevoked = [\"{BOB}\", \"00112233445566778899aabb\"]\nallow_unsigned = true\n{}",
        key("expires = \"2027-01-01\"\nroles = [\"push\"]\nfunctions = [\"celsius\", \"lab-*\"]")
    );
    let trust = parse(&text).unwrap();
    assert!(trust.allow_unsigned);
    let [bob, ada] = &trust.grants[..] else { panic!("{trust:?}") };
    assert_eq!(
        (bob.expires, &bob.roles, bob.functions.len()),
        (None, &vec![Role::Push, Role::Command, Role::Update], 1)
    );
    assert_eq!((ada.key.comment(), ada.expires), ("ada@lab", Expiry::parse("2027-01-01")));
    assert_eq!(ada.roles, [Role::Push]);
    let patterns = ["celsius", "lab-*"].map(|text| Pattern::parse(text).unwrap());
    assert_eq!(ada.functions, patterns);
    let revoked: Vec<_> = trust.revoked.iter().map(ToString::to_string).collect();
    assert_eq!(revoked, [bob.key.id().to_string().as_str(), "00112233445566778899aabb"]);
}

#[test]
fn every_mistake_is_placed_and_explained() {
    let twice = format!("[trust]\nkeys = [\"{ADA}\"]\n{}", key(""));
    let zero = "00".repeat(32);
    let many = format!("functions = [{}]", "\"a\", ".repeat(65));
    for (text, line, name, words) in [
        (format!("[trust]\nkeys = [\"{zero}\"]"), 6, "trust.keys", "anyone can sign"),
        (format!("[trust]\nkeys = [\"{ADA}\",\n\"{ADA} again\"]"), 7, "trust.keys", "there twice"),
        (twice, 8, "trust.key.key", "ada@lab ("),
        ("[trust]\nrevoked = [\"ada\"]".to_owned(), 6, "trust.revoked", "eyot keys show"),
        ("[trust]\nrevoke = []".to_owned(), 6, "trust.revoke", "did you mean \"revoked\""),
        ("[[trust.key]]".to_owned(), 5, "trust.key.key", "is missing"),
        ("[[trust.key]]\nkey = \"ssh-rsa AAAA\"".to_owned(), 6, "trust.key.key", "ssh-keygen"),
        (key("expires = \"soon\""), 7, "trust.key.expires", "2027-01-01"),
        (key("expires = 2027-01-01"), 7, "trust.key.expires", "a string in quotes"),
        (key("roles = [\"admin\"]"), 7, "trust.key.roles", "\"push\", \"command\" or \"update\""),
        (key("roles = []"), 7, "trust.key.roles", "leave it out"),
        (key("functions = [\"Lab\"]"), 7, "trust.key.functions", "lab-*"),
        (key("functions = \"lab\""), 7, "trust.key.functions", "an array of strings"),
        (key(&many), 7, "trust.key.functions", "at most 64"),
        (key("function = [\"lab\"]"), 7, "trust.key.function", "did you mean \"functions\""),
    ] {
        let error = parse(&text).expect_err(&text);
        let found = error.problems.iter().any(|p| p.line == line && p.key == name && p.reason.contains(words));
        assert!(found, "{text}\nshould say {line}: {name}: …{words}…, but:\n{error}");
    }
}

#[test]
fn keys_have_a_limit() {
    let keys = |count: u32| {
        let quoted: Vec<_> = (1..=count).map(|n| format!("\"{n:08x}{}\"", "5a".repeat(28))).collect();
        format!("[trust]\nkeys = [{}]\nrevoked = [{}]", quoted.join(","), quoted.join(","))
    };
    let most = parse(&keys(1024)).unwrap();
    assert_eq!((most.grants.len(), most.revoked.len()), (1024, 1024));
    let error = parse(&keys(1025)).unwrap_err();
    let told: Vec<_> = error.problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(told, ["trust.keys", "trust.revoked"]);
    assert!(error.to_string().contains("one too many"), "{error}");
}

/// The laptop that checks a gateway's file has none of the gateway's other files.
#[test]
fn it_can_be_read_alone() {
    let dir = std::env::temp_dir().join(format!("eyot-trust-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join("gateway.toml");
    let text = format!(
        "[broker]\nurl = \"mqtts://b\"\nusername = \"x\"\npassword_file = \"/nowhere\"\n[trust]\nkeys = [\"{ADA}\"]"
    );
    fs::write(&file, &text).unwrap();
    assert!(Config::load(&file).is_err());
    assert_eq!(Config::load_trust(&file).unwrap().grants.len(), 1);
    fs::write(&file, text.replace("ssh-ed25519", "ssh-rsa")).unwrap();
    assert!(Config::load_trust(&file).unwrap_err().to_string().contains("gateway.toml:6: trust.keys: \"ssh-rsa"));
    fs::write(&file, "= 1").unwrap();
    assert!(Config::load_trust(&file).unwrap_err().to_string().contains("is not TOML"));
    assert!(Config::load_trust(Path::new("/nowhere.toml")).unwrap_err().to_string().contains("cannot be read"));
    fs::remove_dir_all(&dir).unwrap();
}
