//! A certificate authority for one test.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    date_time_ymd, BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::mosquitto::TlsFiles;

/// An authority whose certificate lies in a file, for `[broker.tls] ca`.
pub struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority that writes its files into `dir`.
    ///
    /// # Panics
    /// When `dir` is not writable.
    pub fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("no names are valid names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key pair is made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("the authority signs itself");
        let authority = Self { dir: dir.join(name), issuer };
        fs::create_dir_all(&authority.dir).expect("a directory for certificates");
        fs::write(authority.ca(), authority.issuer.pem()).expect("the certificate is written");
        authority
    }

    /// File with the authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Certificate and key for a broker on this machine.
    ///
    /// # Panics
    /// When the directory is not writable.
    pub fn server(&self) -> TlsFiles {
        let key = KeyPair::generate().expect("a key pair is made");
        let params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).expect("the names are valid");
        let cert = params.signed_by(&key, &self.issuer).expect("the authority signs");
        let files = TlsFiles { cert: self.dir.join("server.pem"), key: self.dir.join("server.key"), client_ca: None };
        fs::write(&files.cert, cert.pem()).expect("the certificate is written");
        fs::write(&files.key, key.serialize_pem()).expect("the key is written");
        files
    }

    /// Certificate and key for a client; one that is over if it is not `valid`.
    ///
    /// # Panics
    /// When the directory is not writable.
    pub fn client(&self, name: &str, valid: bool) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key pair is made");
        let mut params = CertificateParams::new([name.to_owned()]).expect("the name is valid");
        if !valid {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let cert = params.signed_by(&key, &self.issuer).expect("the authority signs");
        let paths = (self.dir.join(format!("{name}.pem")), self.dir.join(format!("{name}.key")));
        fs::write(&paths.0, cert.pem()).expect("the certificate is written");
        fs::write(&paths.1, key.serialize_pem()).expect("the key is written");
        paths
    }
}
