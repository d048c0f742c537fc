//! `eyot keys`, `eyot sign`, `eyot verify` and `eyot build --key`.

use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};

use base64::prelude::{Engine as _, BASE64_STANDARD};
use serde_json::{json, Value};

use crate::harness::{module, with_manifest, Folder, ECHO, MANIFEST};

/// The key pair of RFC 8032, test 1, as OpenSSL writes it.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// A key that ssh-keygen protected by a passphrase.
const SSH_LOCKED: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABBZoY/1xL
58NeCFaHhzKu5vAAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIAkNsihuzKYIVKrw
tjDcu9HoQDTrb78yDLVGySgpIE38AAAAkNkowmNE9WIyJ2zKO3nrM8saqjY8+TAHLpUQxV
7cGS+E6EU4rrfe7HsKvkuLVtWs+i+pZ0CAjBNRIh6E+kEleKMqqtD9gFSH2Wly4KYDtb9A
7N8km3B5kYOGaCJYB3qdjn9Q7WkIFqzAtmuCv8NsoFiqoBzFuqDh6V+eIUqPhhhCkS+W27
Khe0x110+swr3Thw==
-----END OPENSSH PRIVATE KEY-----
";

/// A folder with a function and the key pairs `ada` and `bob`.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.function(ECHO);
    for name in ["ada", "bob"] {
        folder.eyot(&["keys", "new", "--out", name, "--comment", &format!("{name}@lab")]).exits(0);
    }
    folder
}

fn id(folder: &Folder, key: &str) -> String {
    let shown = folder.eyot(&["keys", "show", key, "--json"]).exits(0).json();
    shown["id"].as_str().unwrap().to_owned()
}

fn text(folder: &Folder, name: &str) -> String {
    String::from_utf8(folder.read(name)).unwrap()
}

#[test]
fn a_key_pair_is_for_its_owner_and_never_overwritten() {
    let folder = folder();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("ada"), 0o600);
    assert!(mode("ada.pub") & 0o200 != 0 && text(&folder, "ada.pub").starts_with("ssh-ed25519 AAAA"));
    assert!(text(&folder, "ada.pub").ends_with(" ada@lab\n") && text(&folder, "ada").contains("OPENSSH PRIVATE KEY"));
    assert_ne!(folder.read("ada"), folder.read("bob"));
    let before = (folder.read("ada"), folder.read("ada.pub"));
    folder.eyot(&["keys", "new", "--out", "ada"]).exits(2).says(&["ada: exists", "never overwritten", "--out"]);
    fs::remove_file(folder.path().join("ada")).unwrap();
    folder.eyot(&["keys", "new", "--out", "ada"]).exits(2).says(&["ada.pub: exists"]);
    assert!(!folder.path().join("ada").exists(), "half a pair is left");
    assert_eq!(folder.read("ada.pub"), before.1);
    symlink("elsewhere", folder.path().join("eve")).unwrap();
    folder.eyot(&["keys", "new", "--out", "eve"]).exits(2).says(&["eve: exists"]);
    folder.eyot(&["keys", "new", "--out", "no/such/folder"]).exits(1).says(&["no/such/folder: cannot be written"]);
}

#[test]
fn a_key_is_shown_by_either_half() {
    let folder = folder();
    let made = folder.eyot(&["keys", "new", "--out", "eve", "--json"]).exits(0).json();
    assert!(made["comment"].is_string());
    let public = folder.eyot(&["keys", "show", "ada.pub", "--json"]).exits(0).json();
    let private = folder.eyot(&["keys", "show", "ada", "--json"]).exits(0).json();
    for key in ["id", "fingerprint", "comment", "openssh"] {
        assert_eq!(public[key], private[key]);
    }
    assert_eq!(public["openssh"].as_str(), Some(text(&folder, "ada.pub").trim_end()));
    let output =
        folder.eyot(&["keys", "show", "ada"]).exits(0).prints(&["ada@lab", "SHA256:", public["id"].as_str().unwrap()]);
    assert!(!output.stdout.contains("PRIVATE"));
}

#[test]
fn a_signed_function_is_verified_and_runs() {
    let folder = folder();
    let before = folder.read("fn.wasm");
    folder
        .eyot(&["sign", "fn.wasm", "--key", "ada", "--out", "signed.wasm"])
        .exits(0)
        .prints(&["signed signed.wasm (sample 1.2.3)", "ada@lab ("]);
    assert_eq!(folder.read("fn.wasm"), before, "with --out the original stays");
    folder.eyot(&["verify", "signed.wasm", "--key", "ada.pub"]).exits(0).prints(&[
        "verified",
        "sample 1.2.3",
        "ada@lab (",
    ]);
    let report = folder.eyot(&["verify", "signed.wasm", "-k", "ada.pub", "--json"]).exits(0).json();
    assert_eq!(report["verified"], true);
    assert_eq!(report["signers"], json!([{"id": id(&folder, "ada"), "comment": "ada@lab"}]));
    assert_eq!(
        (&report["name"], &report["version"], &report["others"]),
        (&json!("sample"), &json!("1.2.3"), &json!([]))
    );
    folder.eyot(&["inspect", "signed.wasm"]).exits(0).prints(&["would be accepted"]);
    folder.eyot(&["run", "signed.wasm", "-t", "in/7", "-p", "x"]).exits(0).prints(&["out/a  x"]);
}

#[test]
fn standard_input_is_signed_only_with_a_place_to_go() {
    let folder = folder();
    let wasm = folder.read("fn.wasm");
    folder.eyot_reading(&wasm, &["sign", "-", "--key", "ada"]).exits(2).says(&["standard input: cannot be", "--out"]);
    assert!(!folder.path().join("-").exists());
    folder.eyot_reading(&wasm, &["sign", "-", "--key", "ada", "--out", "out.wasm"]).exits(0);
    folder.eyot(&["verify", "out.wasm", "--key", "ada.pub"]).exits(0);
}

#[test]
fn signers_add_up_and_each_key_that_is_asked_for_must_have_signed() {
    let folder = folder();
    folder.eyot(&["sign", "fn.wasm", "--key", "ada"]).exits(0);
    let once = folder.read("fn.wasm");
    let both = ["verify", "fn.wasm", "--key", "ada.pub", "--key", "bob.pub"];
    folder.eyot(&both).exits(1).says(&["fn.wasm: is not signed by bob@lab ("]);
    folder.eyot(&["sign", "fn.wasm", "--key", "ada"]).exits(0).prints(&["signed before"]);
    assert_eq!(folder.read("fn.wasm"), once);
    folder.eyot(&["sign", "fn.wasm", "--key", "bob"]).exits(0);
    folder.eyot(&both).exits(0).prints(&["ada@lab (", "bob@lab ("]);
    let report = folder.eyot(&["verify", "fn.wasm", "--key", "bob.pub", "--json"]).exits(0).json();
    assert_eq!(report["others"], json!([id(&folder, "ada")]));
}

#[test]
fn what_is_not_signed_as_it_is_is_refused() {
    let folder = folder();
    let verify = ["verify", "fn.wasm", "--key", "ada.pub"];
    folder.eyot(&verify).exits(1).says(&["fn.wasm: is not signed", "eyot sign"]).prints(&["not verified"]);
    folder.eyot(&["sign", "fn.wasm", "--key", "ada"]).exits(0);
    let signed = folder.read("fn.wasm");
    let at = signed.windows(5).position(|bytes| bytes == b"hello").unwrap();
    let mut altered = signed.clone();
    altered[at] ^= 1;
    folder.write("fn.wasm", &altered);
    folder.eyot(&verify).exits(1).says(&["fn.wasm: was altered after ada@lab ("]);
    let report = folder.eyot(&["verify", "fn.wasm", "--key", "ada.pub", "--json"]).exits(1).json();
    assert_eq!((&report["verified"], &report["error"]["kind"]), (&json!(false), &json!("refused")));
    assert_eq!((&report["signers"], &report["others"]), (&json!([]), &json!([id(&folder, "ada")])));
    folder.eyot(&["sign", "fn.wasm", "--key", "bob"]).exits(2).says(&["fn.wasm: was altered", "build it again"]);
    assert_eq!(folder.read("fn.wasm"), altered);
    folder.write("fn.wasm", &signed[..signed.len() - 1]);
    let report = folder.eyot(&["verify", "fn.wasm", "--key", "ada.pub", "--json"]).exits(2).says(&["cut off"]).json();
    assert_eq!(report["error"]["kind"], "bad-input");
    folder.write("bare.wasm", module(ECHO));
    folder.eyot(&["sign", "bare.wasm", "--key", "ada"]).exits(2).says(&["bare.wasm: has no section eyot.manifest"]);
}

#[test]
fn keys_that_cannot_be_used_are_told_with_the_remedy() {
    let folder = folder();
    folder.write("text", "hello");
    folder.write("big", [b'x'; 5000]);
    folder.write("cut", &folder.read("ada")[..200]);
    folder.write("rsa", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n");
    folder.write("locked", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIE\n-----END ENCRYPTED PRIVATE KEY-----\n");
    folder.write("ssh-locked", SSH_LOCKED);
    for (key, words) in [
        ("ada.pub", &["ada.pub: is a public key", "without .pub"][..]),
        ("text", &["text: is no ed25519 private key", "eyot keys new"]),
        ("big", &["big: is no key", "4096"]),
        ("cut", &["cut: is cut off or damaged"]),
        ("rsa", &["rsa: is a private key of a kind that is not supported"]),
        ("locked", &["locked: is protected by a passphrase"]),
        ("ssh-locked", &["ssh-locked: is protected by a passphrase", "eyot keys new", "ssh-keygen -p"]),
        ("gone", &["gone: cannot be read"]),
    ] {
        folder.eyot(&["sign", "fn.wasm", "--key", key]).exits(2).says(words);
    }
    folder.eyot(&["verify", "fn.wasm", "--key", "ada"]).exits(2).says(&["ada: is a private key", ".pub"]);
    folder.eyot(&["verify", "fn.wasm", "--key", "text"]).exits(2).says(&["text: is no ed25519 public key"]);
    folder.eyot(&["verify", "fn.wasm"]).exits(2);
    folder.eyot(&["keys"]).exits(2);
}

/// One key, as OpenSSL and as wasmsign2 write it.
#[test]
fn keys_of_other_tools_sign_too() {
    let folder = folder();
    let (seed, public) = (hex::decode(SEED).unwrap(), hex::decode(PUBLIC).unwrap());
    let der = [&hex::decode("302e020100300506032b657004220420").unwrap()[..], &seed].concat();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der));
    folder.write("pem", pem);
    folder.write("raw", [&[0x81][..], &seed, &public].concat());
    folder.write("torn", [&[0x81][..], &seed, &seed].concat());
    folder.write("public", format!("{PUBLIC}\n"));
    for key in ["pem", "raw"] {
        folder.eyot(&["sign", "fn.wasm", "--key", key, "--out", "out.wasm"]).exits(0);
        folder.eyot(&["verify", "out.wasm", "--key", "public"]).exits(0);
        assert_eq!(id(&folder, key), id(&folder, "public"));
    }
    folder.eyot(&["sign", "fn.wasm", "--key", "torn"]).exits(2).says(&["torn: is cut off or damaged"]);
}

#[test]
fn build_signs_in_one_step() {
    let folder = folder();
    folder.write("sample/function.toml", MANIFEST);
    folder.write("out.wasm", module(ECHO));
    let build = ["build", "sample", "--wasm", "out.wasm", "--key", "ada"];
    folder.eyot(&build).exits(0);
    folder.eyot(&["verify", "sample/sample.wasm", "--key", "ada.pub"]).exits(0);
    let signed = folder.read("sample/sample.wasm");
    folder.eyot(&["build", "sample", "--wasm", "sample/sample.wasm", "--key", "ada"]).exits(0);
    assert_eq!(folder.read("sample/sample.wasm"), signed, "the old signature goes, the new one is the same");
    folder.eyot(&["build", "sample", "--wasm", "out.wasm", "--key", "gone"]).exits(2).says(&["gone: cannot be read"]);
}

fn trusting(folder: &Folder, trust: &str) {
    folder.write("gateway.toml", format!("[gateway]\nid = \"barn-7\"\n{trust}"));
}

fn trusted_with(folder: &Folder, extra: &str) {
    let key = text(folder, "ada.pub");
    trusting(folder, &format!("[[trust.key]]\nkey = \"{}\"\n{extra}", key.trim_end()));
}

#[test]
fn a_gateways_file_decides_as_the_gateway_would() {
    let folder = folder();
    let verify = ["verify", "fn.wasm", "--config", "gateway.toml"];
    trusted_with(&folder, "functions = [\"sam*\"]");
    folder.eyot(&verify).exits(1).says(&["fn.wasm: is not signed"]);
    folder.eyot(&["sign", "fn.wasm", "--key", "ada"]).exits(0);
    folder.eyot(&verify).exits(0).prints(&["verified", "ada@lab ("]);
    for (extra, words) in [
        ("expires = \"2025-06-01\"", &["ada@lab (", "expired at 2025-06-01T00:00:00Z"][..]),
        ("roles = [\"command\"]", &["ada@lab (", "may not push;", "`roles`"]),
        ("functions = [\"celsius\"]", &["may not push \"sample\"", "`functions`"]),
    ] {
        trusted_with(&folder, extra);
        folder.eyot(&verify).exits(1).says(words);
    }
    trusting(
        &folder,
        &format!(
            "[trust]\nkeys = [\"{}\"]\nrevoked = [\"{}\"]",
            text(&folder, "ada.pub").trim_end(),
            id(&folder, "ada")
        ),
    );
    folder.eyot(&verify).exits(1).says(&["ada@lab (", "revoked"]);
    trusting(&folder, &format!("[trust]\nkeys = [\"{}\"]", text(&folder, "bob.pub").trim_end()));
    folder.eyot(&verify).exits(1).says(&["no key that is trusted here", &id(&folder, "ada")]);
    folder.eyot(&["verify", "fn.wasm", "--config", "gateway.toml", "--key", "ada.pub"]).exits(1);
    trusting(&folder, "[trust]\nkeys = [\"ssh-rsa AAAA\"]");
    folder.eyot(&verify).exits(2).says(&["gateway.toml:4: trust.keys: ", "only ed25519"]);
    folder.function(ECHO);
    trusting(&folder, "[trust]\nallow_unsigned = true");
    folder.eyot(&verify).exits(0).prints(&["none; this gateway allows that"]);
}

#[test]
fn a_version_may_be_replaced_only_by_a_higher_one() {
    let folder = folder();
    let build = |name: &str, from: &str, to: &str| {
        folder.write(name, with_manifest(&module(ECHO), &MANIFEST.replace(from, to)));
        folder.eyot(&["sign", name, "--key", "ada"]).exits(0);
    };
    build("old.wasm", "", "");
    build("next.wasm", "1.2.3", "1.3.0");
    build("same.wasm", "hello", "other");
    build("other.wasm", "sample", "simple");
    let over = |new: &str, old: &str| folder.eyot(&["verify", new, "--key", "ada.pub", "--over", old]);
    over("next.wasm", "old.wasm").exits(0);
    over("old.wasm", "next.wasm").exits(1).says(&["old.wasm: is version 1.2.3, older than 1.3.0"]);
    over("same.wasm", "old.wasm").exits(1).says(&["version 1.2.3 like another build"]);
    over("other.wasm", "old.wasm").exits(1).says(&["is called \"simple\""]);
    folder.eyot(&["sign", "old.wasm", "--key", "bob", "--out", "more.wasm"]).exits(0);
    over("more.wasm", "old.wasm").exits(1).says(&["is what runs already"]);
    let report: Value =
        folder.eyot(&["verify", "old.wasm", "-k", "ada.pub", "--over", "next.wasm", "--json"]).exits(1).json();
    assert_eq!(report["verified"], false);
}
