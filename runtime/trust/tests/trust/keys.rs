//! Public keys in the forms people have them.

use base64::prelude::{Engine as _, BASE64_STANDARD};
use eyot_trust::key::{KeyError, KeyId, PublicKey};
use eyot_trust::limits::KEY_TEXT_MAX_BYTES;

use crate::common::signer;

/// Made by ssh-keygen 9.2, with what `ssh-keygen -l` said of it.
const SSH: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEvK4mPjw7bFrrmfuyr9Hb7GYq6sLkhRbyFrzDhCbPzX ada@lab";

#[test]
fn a_line_of_openssh_reads_and_prints_the_same() {
    let key = PublicKey::parse(SSH).unwrap();
    assert_eq!((key.comment(), key.to_openssh().as_str()), ("ada@lab", SSH));
    let longer = SSH.replace("ada@lab", " Ada  of the lab \n");
    assert_eq!(PublicKey::parse(&format!("# mine\n\n{longer}\n")).unwrap().comment(), "Ada  of the lab");
    assert_eq!(PublicKey::parse(&SSH.replace(" ada@lab", "")).unwrap().to_openssh() + " ada@lab", SSH);
}

#[test]
fn all_forms_are_the_same_key() {
    let key = signer(7, "").public().clone();
    let raw = key.as_bytes().as_slice();
    let reference = wasmsign2::PublicKey::from_bytes(&[&[1], raw].concat()).unwrap();
    let (own, der, pem) = (reference.to_bytes(), reference.to_der(), reference.to_pem());
    for bytes in [raw, &own, &der] {
        assert_eq!(PublicKey::parse_file(bytes), Ok(key.clone()));
        assert_eq!(PublicKey::parse(&hex::encode(bytes)), Ok(key.clone()));
        assert_eq!(PublicKey::parse(&hex::encode_upper(bytes)), Ok(key.clone()));
        assert_eq!(PublicKey::parse(&BASE64_STANDARD.encode(bytes)), Ok(key.clone()));
    }
    assert_eq!(PublicKey::parse(&pem), Ok(key.clone()));
    assert_eq!(PublicKey::parse_file(pem.as_bytes()), Ok(key.clone()));
    assert_eq!(PublicKey::parse_file(key.to_openssh().as_bytes()), Ok(key.clone()));
    let id = reference.attach_default_key_id().key_id.unwrap();
    assert_eq!(key.id().to_string(), hex::encode(id));
    assert_eq!(key.id().to_string().parse::<KeyId>(), Ok(key.id()));
}

#[test]
fn what_is_no_key_is_refused_with_reason_and_remedy() {
    let cut = &SSH[..60];
    let two = format!("{SSH}\n{SSH}\n");
    let long = format!("{SSH}{}", " ".repeat(KEY_TEXT_MAX_BYTES));
    let other = SSH.replace("AAAAC3NzaC1lZDI1NTE5", "AAAAB3NzaC1lZDI1NTE5");
    for (text, error, words) in [
        ("", KeyError::NotAKey, "eyot keys new"),
        ("hello", KeyError::NotAKey, "hex or base64"),
        ("ssh-ed25519", KeyError::NotAKey, ".pub"),
        (cut, KeyError::NotAKey, "ssh-keygen"),
        (&other, KeyError::NotAKey, "32 bytes"),
        (&long, KeyError::NotAKey, "32 bytes"),
        ("ssh-rsa AAAAB3Nza ada@lab", KeyError::OtherKind("ssh-rsa".to_owned()), "only ed25519"),
        ("ecdsa-sha2-nistp256 AAAA", KeyError::OtherKind("ecdsa-sha2-nistp256".to_owned()), "ecdsa"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb", KeyError::Private, ".pub file"),
        ("-----BEGIN PUBLIC KEY-----\nMCow", KeyError::NotAKey, ".pub"),
        (&two, KeyError::Several, "one key at a time"),
    ] {
        let found = PublicKey::parse(text).unwrap_err();
        assert_eq!(found, error, "{text}");
        assert!(found.to_string().contains(words), "{found}");
        assert!(PublicKey::parse_file(text.as_bytes()).is_err());
    }
    assert!(PublicKey::parse_file(b"\xff\xfe\x00").is_err());
    assert!("12ab".parse::<KeyId>().is_err() && "xx".repeat(12).parse::<KeyId>().is_err());
}

/// A placeholder of zeros, and the like: signatures for these need no secret.
#[test]
fn keys_for_which_anyone_can_sign_are_refused() {
    let p_minus = |n: u8| {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed - n;
        bytes[31] = 0x7f;
        bytes
    };
    let mut one = [0; 32];
    one[0] = 1;
    let order_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let negated = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    let of = |text: &str| <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap();
    for mut bytes in [[0; 32], one, p_minus(1), p_minus(0), of(order_8), of(negated)] {
        for _ in 0..2 {
            assert_eq!(PublicKey::new(bytes, ""), Err(KeyError::Weak), "{}", hex::encode(bytes));
            let reference = wasmsign2::PublicKey::from_bytes(&[&[1], bytes.as_slice()].concat()).unwrap();
            assert!(reference.pk.validate().is_err(), "{}", hex::encode(bytes));
            bytes[31] ^= 0x80;
        }
    }
    assert!(PublicKey::parse(&hex::encode([0; 32])).unwrap_err().to_string().contains("anyone can sign"));
}

#[test]
fn comments_cannot_steer_a_terminal_or_grow() {
    let key = PublicKey::parse(&SSH.replace("ada@lab", "\u{1b}[2Jada\u{9b}")).unwrap();
    assert_eq!(key.comment(), "[2Jada");
    let key = PublicKey::parse(&SSH.replace("ada@lab", &"é".repeat(1000))).unwrap();
    assert_eq!(key.comment().chars().count(), 64);
    let cut_at_a_space = format!("{} and more", "x".repeat(63));
    let key = PublicKey::parse(&SSH.replace("ada@lab", &cut_at_a_space)).unwrap();
    assert_eq!(key.comment(), "x".repeat(63));
}
