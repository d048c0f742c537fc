//! A certificate authority for one test.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use rcgen::{date_time_ymd, BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::TempDir;

/// When a certificate is valid.
#[derive(Clone, Copy)]
pub enum Validity {
    Now,
    Expired,
}

pub struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: AtomicU32,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::new();
        dir.write("ca.pem", &issuer.pem());
        Self { dir, issuer, issued: AtomicU32::new(0) }
    }

    /// Writes a certificate for this name and its key.
    pub fn issue(&self, name: &str, validity: Validity) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if let Validity::Expired = validity {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let stem = format!("{name}-{}", self.issued.fetch_add(1, Ordering::Relaxed));
        let cert = self.dir.write(&format!("{stem}.pem"), &certificate.pem());
        (cert, self.dir.write(&format!("{stem}.key"), &key.serialize_pem()))
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.0.join("ca.pem")
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        self.dir.write(name, text)
    }

    /// A server that shows a certificate for `localhost` and wants one of this authority.
    pub fn server(&self, validity: Validity) -> Arc<ServerConfig> {
        let (cert, key) = self.issue("localhost", validity);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).unwrap()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_file(cert).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
        Arc::new(config)
    }
}
