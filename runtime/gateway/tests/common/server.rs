//! An HTTP server that does as it is told, and keeps what it got.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

/// What becomes of one request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This status with these headers.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// The connection ends instead of an answer.
    Cut,
    /// 422 if the body holds this text, 200 otherwise. Stays in force.
    RefuseBodiesWith(&'static str),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Got {
    pub at: Instant,
    pub line: String,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
    /// Status of the answer; none if it was cut.
    pub status: Option<u16>,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Clone)]
pub struct Server {
    pub addr: SocketAddr,
    script: Arc<Mutex<VecDeque<Answer>>>,
    got: flume::Receiver<Got>,
}

impl Server {
    /// Gives these answers in order, then 200 to everything.
    pub async fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script, None)
    }

    /// With TLS.
    pub async fn secure(tls: Arc<ServerConfig>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), [], Some(tls))
    }

    fn on(listener: TcpListener, script: impl IntoIterator<Item = Answer>, tls: Option<Arc<ServerConfig>>) -> Self {
        let (got_tx, got) = flume::unbounded();
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        let server = Self { addr: listener.local_addr().unwrap(), script: script.clone(), got };
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (script, got) = (script.clone(), got_tx.clone());
                let service = service_fn(move |request| answer(request, script.clone(), got.clone()));
                let tls = tls.clone().map(TlsAcceptor::from);
                tokio::spawn(async move {
                    let http = http1::Builder::new();
                    match tls {
                        None => http.serve_connection(TokioIo::new(tcp), service).await.is_ok(),
                        Some(tls) => match tls.accept(tcp).await {
                            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await.is_ok(),
                            Err(_) => false,
                        },
                    }
                });
            }
        });
        server
    }

    /// The next request.
    pub async fn next(&self) -> Got {
        tokio::time::timeout(super::PATIENCE, self.got.recv_async()).await.expect("a request in time").unwrap()
    }

    /// Requests that came and were not looked at.
    pub fn rest(&self) -> Vec<Got> {
        self.got.drain().collect()
    }

    pub fn then(&self, answer: Answer) {
        self.script.lock().unwrap().push_back(answer);
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Arc<Mutex<VecDeque<Answer>>>,
    got: flume::Sender<Got>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let answer = {
        let mut script = script.lock().unwrap();
        match script.front() {
            Some(Answer::RefuseBodiesWith(text)) => Some(Answer::RefuseBodiesWith(text)),
            _ => script.pop_front(),
        }
    };
    let (status, headers) = match answer {
        None => (Some(200), &[][..]),
        Some(Answer::Status(status, headers)) => (Some(status), headers),
        Some(Answer::Cut) => (None, &[][..]),
        Some(Answer::RefuseBodiesWith(text)) => {
            let refused = body.windows(text.len()).any(|part| part == text.as_bytes());
            (Some(if refused { 422 } else { 200 }), &[][..])
        }
    };
    let line = format!("{} {}", parts.method, parts.uri);
    let _ = got.send(Got { at: Instant::now(), line, headers: parts.headers, body, status });
    let Some(status) = status else { return Err(std::io::Error::other("cut")) };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(Full::new(Bytes::from_static(b"{\"error\":\"why\"}"))).unwrap())
}

/// Long enough for what is not to happen to happen.
pub const A_WHILE: Duration = Duration::from_millis(300);
