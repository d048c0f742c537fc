//! TCP and TLS connections to a broker.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::file;

/// Name lookup, TCP and TLS together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest PEM file; the certificates of all public authorities are a quarter of it.
pub const PEM_MAX_BYTES: usize = 1 << 20;

/// A byte stream to a broker.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A TCP connection that acknowledges what it reads at once. A broker that leaves Nagle's algorithm on, as mosquitto and
/// rumqttd do unless told otherwise, holds back what it has for us until that; the kernel would take up to 40 ms.
struct Prompt(TcpStream);

impl AsyncRead for Prompt {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        // The kernel forgets it now and then. Where it cannot be had, the connection is as good as it was.
        let _ = self.0.set_quickack(true);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Where a broker is.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS settings; none for plain TCP.
    pub tls: Option<Arc<ClientConfig>>,
}

/// PEM files for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate chain.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// Why TLS cannot be set up: which key of `[….tls]`, and what is wrong with it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct TlsError {
    /// `ca`, `cert` or `key`.
    pub key: &'static str,
    /// Reason and remedy.
    pub reason: String,
}

fn bad(key: &'static str, path: &Path, error: impl std::fmt::Display) -> TlsError {
    let path = path.display();
    TlsError { key, reason: format!("cannot use {path}: {error}; name a readable PEM file") }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = file::read(path, PEM_MAX_BYTES).map_err(|e| bad(key, path, e))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(bad(key, path, "it holds no certificate")),
        Err(e) => Err(bad(key, path, e)),
    }
}

fn roots(files: &TlsFiles) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match &files.ca {
        Some(path) => {
            for certificate in certificates("ca", path)? {
                store.add(certificate).map_err(|e| bad("ca", path, e))?;
            }
        }
        None => {
            let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if added == 0 {
                let reason = "the system has no certificate authorities; install ca-certificates or set ca";
                return Err(TlsError { key: "ca", reason: reason.to_owned() });
            }
        }
    }
    Ok(store)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Our certificate chain and key, if there are any.
fn identity(files: &TlsFiles) -> Result<Option<Identity>, Vec<TlsError>> {
    let (cert, key) = match (&files.cert, &files.key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => {
            return Err(vec![TlsError { key: "cert", reason: "cert without key; set key too".to_owned() }])
        }
        (None, Some(_)) => {
            return Err(vec![TlsError { key: "key", reason: "key without cert; set cert too".to_owned() }])
        }
    };
    let chain = certificates("cert", cert);
    let pem = file::read(key, PEM_MAX_BYTES).map_err(|e| bad("key", key, e));
    let secret = pem.and_then(|pem| PrivateKeyDer::from_pem_slice(&pem).map_err(|e| bad("key", key, e)));
    both(chain, secret).map(Some)
}

fn both<A, B, E>(a: Result<A, E>, b: Result<B, E>) -> Result<(A, B), Vec<E>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (a, b) => Err(a.err().into_iter().chain(b.err()).collect()),
    }
}

/// Reads the files and sets TLS up.
///
/// # Errors
/// All that is wrong with any of them.
pub fn tls(files: &TlsFiles) -> Result<Arc<ClientConfig>, Vec<TlsError>> {
    let (roots, identity) =
        both(roots(files).map_err(|e| vec![e]), identity(files)).map_err(|errors| errors.concat())?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| vec![TlsError { key: "ca", reason: e.to_string() }])?
        .with_root_certificates(roots);
    let config = match (identity, &files.key) {
        (Some((chain, secret)), Some(path)) => {
            builder.with_client_auth_cert(chain, secret).map_err(|e| vec![bad("key", path, e)])?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

impl Endpoint {
    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// `scheme://host[:port]` of an HTTP server.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.authority())
    }

    /// `host[:port]` of an HTTP server, as it stands in `Host`: without the port if it is the scheme's own.
    pub fn authority(&self) -> String {
        let usual = if self.tls.is_some() { 443 } else { 80 };
        let address = self.address();
        match address.strip_suffix(&format!(":{usual}")) {
            Some(host) if self.port == usual => host.to_owned(),
            _ => address,
        }
    }

    /// Connects; gives up after [`CONNECT_TIMEOUT`].
    pub async fn connect(&self) -> io::Result<Box<dyn Io>> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.connect_unbounded())
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time")))
    }

    async fn connect_unbounded(&self) -> io::Result<Box<dyn Io>> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // Acknowledgements are small and somebody waits for each of them.
        tcp.set_nodelay(true)?;
        let tcp = Prompt(tcp);
        let Some(config) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(config.clone()).connect(name, tcp).await.map_err(with_remedy)?))
    }
}

/// What to do about a certificate that is not trusted, where that is known.
fn with_remedy(error: io::Error) -> io::Error {
    let remedy = match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "name the authority that signed it in [tls] ca"
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "use the host name that it is for in url",
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "renew it, or set the clock",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}; {remedy}"))
}

/// Writes once, or flushes when there is nothing left to write: TLS may hold back what it was given. Cancelling it loses
/// nothing.
///
/// # Errors
/// The connection is broken.
pub async fn send(writer: &mut WriteHalf<Box<dyn Io>>, out: &mut BytesMut) -> io::Result<()> {
    if out.is_empty() {
        return writer.flush().await;
    }
    match writer.write_buf(out).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(()),
    }
}
