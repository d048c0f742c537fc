//! `[metrics] listen`: the status document's numbers, for Prometheus and whatever else reads OpenMetrics text.
//!
//! `GET /metrics` asks the core for its status at that moment. Nothing is counted here, so nothing can disagree with the
//! ledger, and counters go on where they were over restarts. There is no TLS and no login: listen on loopback, or on a
//! network where everybody may know.
//!
//! - `page`: a status document as OpenMetrics text.

mod page;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flume::Sender;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, warn};

pub use page::render;

/// Most connections. The oldest makes room for one more: who has connected and asks for nothing keeps nobody else from
/// asking.
pub const CONNECTIONS_MAX: usize = 8;
/// Time for one scrape, from connecting to the last byte.
pub const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest request head.
const HEAD_MAX_BYTES: usize = 8 << 10;
/// Pause after the system refused to accept a connection: it is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);
const TEXT: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Asks the core for its status document.
#[derive(Clone)]
pub struct Ask {
    /// Where the core hears questions.
    pub questions: Sender<Sender<Vec<u8>>>,
    /// Makes it look.
    pub wake: Arc<dyn Fn() + Send + Sync>,
}

impl Ask {
    /// None if the core has ended, or has more questions than it answers.
    async fn status(&self) -> Option<Vec<u8>> {
        let (answer, answered) = flume::bounded(1);
        self.questions.try_send(answer).ok()?;
        (self.wake)();
        answered.recv_async().await.ok()
    }
}

/// Answers scrapes until it is dropped.
pub async fn serve(listener: TcpListener, ask: Ask) {
    let listening = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match listening {
        Ok(listener) => listener,
        Err(error) => {
            warn!(%error, "no metrics: cannot listen");
            return;
        }
    };
    // Whoever is in it ends with it.
    let mut connections = JoinSet::new();
    let mut by_age = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while connections.try_join_next().is_some() {}
                by_age.retain(|scrape: &AbortHandle| !scrape.is_finished());
                if by_age.len() >= CONNECTIONS_MAX {
                    debug!("too many scrapes at a time: the oldest is cut off");
                    by_age.pop_front().inspect(AbortHandle::abort);
                }
                by_age.push_back(connections.spawn(within_time(stream, ask.clone())));
            }
            Err(error) => {
                debug!(%error, "a scrape could not connect");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn within_time(stream: TcpStream, ask: Ask) {
    if tokio::time::timeout(SCRAPE_TIMEOUT, answer(stream, ask)).await.is_err() {
        debug!("a scrape took too long");
    }
}

async fn answer(stream: TcpStream, ask: Ask) {
    let service = service_fn(move |request: Request<Incoming>| {
        let ask = ask.clone();
        async move { Ok::<_, Infallible>(respond(&request, &ask).await) }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).max_buf_size(HEAD_MAX_BYTES);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        debug!(%error, "a scrape broke off");
    }
}

async fn respond(request: &Request<Incoming>, ask: &Ask) -> Response<Full<Bytes>> {
    let plain = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n");
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match ask.status().await.and_then(|status| render(&status)) {
        Some(page) => {
            let mut response = Response::new(Full::from(page));
            response.headers_mut().insert(CONTENT_TYPE, TEXT);
            response
        }
        None => plain(StatusCode::SERVICE_UNAVAILABLE, "the gateway is busy or stopping; try again\n"),
    }
}
