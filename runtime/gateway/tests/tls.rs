//! TLS against mosquitto, with an authority made for the run.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;

use common::{free_port, options, Client, Mosquitto, TempDir};
use eyot_gateway::mqtt::transport::{tls, Endpoint, TlsFiles};
use eyot_gateway::mqtt::Version;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::new();
        dir.write("ca.pem", &issuer.pem());
        Self { dir, issuer }
    }

    /// Writes a certificate for this name and its key.
    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let cert = self.dir.write(&format!("{name}.pem"), &certificate.pem());
        (cert, self.dir.write(&format!("{name}.key"), &key.serialize_pem()))
    }

    fn ca(&self) -> PathBuf {
        self.dir.0.join("ca.pem")
    }
}

fn secure_mosquitto(authority: &Authority) -> Mosquitto {
    let (cert, key) = authority.issue("localhost");
    let [cert, key, ca] = [cert, key, authority.ca()].map(|p| p.display().to_string());
    Mosquitto::start(free_port(), &format!("cafile {ca}\ncertfile {cert}\nkeyfile {key}\nrequire_certificate true\n"))
}

fn endpoint(broker: &Mosquitto, host: &str, files: &TlsFiles) -> Endpoint {
    Endpoint { host: host.to_owned(), port: broker.port, tls: Some(tls(files).unwrap()) }
}

#[tokio::test]
async fn a_link_proves_itself_and_checks_the_broker() {
    let authority = Authority::new("home");
    let broker = secure_mosquitto(&authority);
    let (cert, key) = authority.issue("barn-7");
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
    let files = TlsFiles { ca: Some(stranger.ca()), ..files };
    let unknown = endpoint(&broker, "localhost", &files).connect().await.map(|_| ()).unwrap_err();
    assert!(unknown.to_string().contains("UnknownIssuer"), "{unknown}");
}

#[test]
fn unusable_files_are_named_with_their_key() {
    let authority = Authority::new("home");
    let (cert, key) = authority.issue("barn-7");
    let nowhere = Some(PathBuf::from("/nowhere.pem"));
    let ca = Some(authority.ca());
    let not_pem = Some(authority.dir.write("not.pem", "hello"));
    for (files, at, words) in [
        (TlsFiles { ca: nowhere.clone(), ..TlsFiles::default() }, "ca", "/nowhere.pem"),
        (TlsFiles { ca: not_pem, ..TlsFiles::default() }, "ca", "no certificate"),
        (TlsFiles { ca: ca.clone(), cert: Some(cert.clone()), key: None }, "cert", "set key too"),
        (TlsFiles { ca: ca.clone(), cert: None, key: Some(key.clone()) }, "key", "set cert too"),
        (TlsFiles { ca: ca.clone(), cert: Some(cert.clone()), key: nowhere }, "key", "/nowhere.pem"),
        (TlsFiles { ca, cert: Some(cert.clone()), key: Some(cert) }, "key", "barn-7.pem"),
    ] {
        let error = tls(&files).map(|_| ()).unwrap_err();
        assert_eq!(error.key, at, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}
