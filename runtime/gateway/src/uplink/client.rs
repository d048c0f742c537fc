//! HTTP/1.1 over one kept connection, for uplinks that send one request at a time.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{LOCATION, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::{reply, Failure};
use crate::mqtt::transport::Endpoint;

/// Largest answer that is read; a connection with a larger one is closed.
pub const ANSWER_MAX_BYTES: usize = 64 << 10;
/// Most of an answer's text that is shown.
pub const EXCERPT_MAX_BYTES: usize = 300;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: StatusCode,
    /// How long to wait, if it says so.
    pub retry_after: Option<Duration>,
    /// Where it points to, if it does.
    pub location: Option<String>,
    /// The beginning of its text, on one line.
    pub excerpt: String,
}

enum Broken {
    /// The connection, possibly because it was kept too long.
    Connection(String),
    /// Not even that.
    Unreachable(String),
    Silent,
}

/// A connection that is made when it is needed and kept as long as it lasts.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    timeout: Duration,
    kept: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// Not connected yet. `timeout` is for one request with its answer.
    pub fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        Self { endpoint, timeout, kept: None }
    }

    /// Connects, unless it is connected.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(&mut self) -> Result<(), Failure> {
        let sender = self.sender().await.map_err(|broken| self.failure(broken))?;
        self.kept = Some(sender);
        Ok(())
    }

    /// Sends a request whose repetition does no harm: it is sent again at once if the kept connection turns out to be
    /// dead, as servers close those that are idle.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Failure> {
        let was_kept = self.kept.is_some();
        let result = match self.exchange(request.clone()).await {
            Err(Broken::Connection(_)) if was_kept => self.exchange(request).await,
            result => result,
        };
        result.map_err(|broken| self.failure(broken))
    }

    fn failure(&self, broken: Broken) -> Failure {
        let address = self.endpoint.address();
        Failure::soon(match broken {
            Broken::Connection(reason) => format!("the connection to {address} broke: {reason}"),
            Broken::Unreachable(reason) => format!("no connection to {address}: {reason}"),
            Broken::Silent => format!("no answer from {address} within {:?}", self.timeout),
        })
    }

    async fn sender(&mut self) -> Result<SendRequest<Full<Bytes>>, Broken> {
        if let Some(kept) = self.kept.take().filter(|kept| !kept.is_closed()) {
            return Ok(kept);
        }
        let io = self.endpoint.connect().await.map_err(|e| Broken::Unreachable(e.to_string()))?;
        let handshake = http1::handshake(TokioIo::new(io)).await;
        let (sender, connection) = handshake.map_err(|e| Broken::Connection(chain(&e)))?;
        // Ends with its sender. What goes wrong on it is heard by whoever waits for an answer.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A call that is cancelled or fails leaves no connection behind.
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Broken> {
        let mut sender = self.sender().await?;
        let timeout = self.timeout;
        let answer = async {
            let broken = |e: hyper::Error| Broken::Connection(chain(&e));
            sender.ready().await.map_err(broken)?;
            let response = sender.send_request(request).await.map_err(broken)?;
            Ok(read(response).await)
        };
        let (reply, whole) = tokio::time::timeout(timeout, answer).await.map_err(|_| Broken::Silent)??;
        if whole {
            self.kept = Some(sender);
        }
        Ok(reply)
    }
}

/// Reads an answer, and whether the connection is good for another. The status is what counts: a text that breaks off
/// does not change it.
async fn read(response: Response<Incoming>) -> (Response<Bytes>, bool) {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_MAX_BYTES).collect().await.map(|body| body.to_bytes());
    let whole = body.is_ok();
    (Response::from_parts(parts, body.unwrap_or_default()), whole)
}

impl From<&Response<Bytes>> for Reply {
    fn from(response: &Response<Bytes>) -> Self {
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        Self {
            status: response.status(),
            retry_after: text(RETRY_AFTER).and_then(reply::retry_after),
            location: text(LOCATION).map(str::to_owned),
            excerpt: excerpt(response.body()),
        }
    }
}

fn excerpt(body: &[u8]) -> String {
    let shown = String::from_utf8_lossy(body.get(..EXCERPT_MAX_BYTES).unwrap_or(body));
    let plain: String = shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.trim().to_owned()
}

/// An error with its causes: hyper's own text names only the outermost.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
