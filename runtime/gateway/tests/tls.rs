//! TLS against mosquitto, with an authority made for the run.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::PathBuf;

use common::certs::{Authority, Validity};
use common::{free_port, options, Client, Mosquitto, PATIENCE};
use eyot_gateway::mqtt::transport::{tls, Endpoint, TlsFiles};
use eyot_gateway::mqtt::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn secure_mosquitto(authority: &Authority, validity: Validity) -> Mosquitto {
    let (cert, key) = authority.issue("localhost", validity);
    let [cert, key, ca] = [cert, key, authority.ca()].map(|p| p.display().to_string());
    Mosquitto::start(free_port(), &format!("cafile {ca}\ncertfile {cert}\nkeyfile {key}\nrequire_certificate true\n"))
}

fn endpoint(broker: &Mosquitto, host: &str, files: &TlsFiles) -> Endpoint {
    Endpoint { host: host.to_owned(), port: broker.port, tls: Some(tls(files).unwrap()) }
}

#[tokio::test]
async fn a_link_proves_itself_and_checks_the_broker() {
    let authority = Authority::new("home");
    let broker = secure_mosquitto(&authority, Validity::Now);
    let (cert, key) = authority.issue("barn-7", Validity::Now);
    let files = TlsFiles { ca: Some(authority.ca()), cert: Some(cert), key: Some(key) };
    for version in [Version::V5, Version::V4] {
        let mut link = Client::start(endpoint(&broker, "localhost", &files), options(version, "tls", &["t"]), 100);
        link.up().await;
        link.publish(1, "t", &"x".repeat(50_000));
        let (first, second) = (link.next().await, link.next().await);
        let both = format!("{first:?} {second:?}");
        assert!(both.contains("Published") && both.contains("Message"), "{both}");
    }

    // The certificate is for localhost, not for an address.
    let wrong_name = endpoint(&broker, "127.0.0.1", &files).connect().await.map(|_| ()).unwrap_err();
    assert!(wrong_name.to_string().contains("not valid for name"), "{wrong_name}");

    let stranger = Authority::new("stranger");
    let elsewhere = TlsFiles { ca: Some(stranger.ca()), ..files.clone() };
    let unknown = endpoint(&broker, "localhost", &elsewhere).connect().await.map(|_| ()).unwrap_err();
    let unknown = unknown.to_string();
    assert!(unknown.contains("UnknownIssuer; name the authority"), "{unknown}");

    let old = secure_mosquitto(&authority, Validity::Expired);
    let expired = endpoint(&old, "localhost", &files).connect().await.map(|_| ()).unwrap_err();
    assert!(expired.to_string().contains("certificate expired"), "{expired}");
}

#[tokio::test]
async fn a_broker_lets_nobody_in_who_does_not_prove_who_he_is() {
    let (authority, stranger) = (Authority::new("home"), Authority::new("stranger"));
    let broker = secure_mosquitto(&authority, Validity::Now);
    let good = authority.issue("barn-7", Validity::Now);
    let certificates = [
        None,
        Some(authority.issue("barn-7", Validity::Expired)),
        Some(stranger.issue("barn-7", Validity::Now)),
        Some(good),
    ];
    let mut let_in = Vec::new();
    for pair in certificates {
        let (cert, key) = pair.unzip();
        let files = TlsFiles { ca: Some(authority.ca()), cert, key };
        // In TLS 1.3 a client is refused after its own side of the handshake: what tells is the first answer.
        let connect = async {
            let mut io = endpoint(&broker, "localhost", &files).connect().await?;
            // CONNECT of MQTT 3.1.1 with the client id "x".
            io.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01x").await?;
            let mut answer = [0; 4];
            io.read_exact(&mut answer).await.map(|_| answer)
        };
        let_in.push(matches!(tokio::time::timeout(PATIENCE, connect).await.unwrap(), Ok([0x20, 2, 0, 0])));
    }
    assert_eq!(let_in, [false, false, false, true]);
}

#[test]
fn unusable_files_are_named_with_their_key() {
    let authority = Authority::new("home");
    let (cert, key) = authority.issue("barn-7", Validity::Now);
    let nowhere = Some(PathBuf::from("/nowhere.pem"));
    let ca = Some(authority.ca());
    let not_pem = Some(authority.write("not.pem", "hello"));
    for (files, at, words) in [
        (TlsFiles { ca: nowhere.clone(), ..TlsFiles::default() }, "ca", "/nowhere.pem"),
        (TlsFiles { ca: not_pem, ..TlsFiles::default() }, "ca", "no certificate"),
        (TlsFiles { ca: ca.clone(), cert: Some(cert.clone()), key: None }, "cert", "set key too"),
        (TlsFiles { ca: ca.clone(), cert: None, key: Some(key.clone()) }, "key", "set cert too"),
        (TlsFiles { ca: ca.clone(), cert: Some(cert.clone()), key: nowhere }, "key", "/nowhere.pem"),
        (TlsFiles { ca, cert: Some(cert.clone()), key: Some(cert) }, "key", "barn-7-0.pem"),
    ] {
        let errors = tls(&files).map(|_| ()).unwrap_err();
        let [error] = &errors[..] else { panic!("{errors:?}") };
        assert_eq!(error.key, at, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let nothing = Some(PathBuf::from("/nowhere.pem"));
    let errors = tls(&TlsFiles { ca: nothing.clone(), cert: nothing.clone(), key: nothing }).map(|_| ()).unwrap_err();
    assert_eq!(errors.iter().map(|error| error.key).collect::<Vec<_>>(), ["ca", "cert", "key"], "all at once");
}
