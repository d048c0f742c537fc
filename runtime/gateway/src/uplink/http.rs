//! `http://` and `https://`: each batch is the body of a POST.
//!
//! The request says what it is: `Content-Type`, `Content-Encoding`, and
//! `Idempotency-Key: <gateway>-<epoch>-<uplink>-<first seq>-<last seq>`, which is the same for every try of a batch, so
//! that a server which remembers keys stores it once. [`reply`] tells what answers mean.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderValue, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request};

use super::body::{self, Compress, Format};
use super::client::{Client, Reply};
use super::work::Part;
use super::{escape, off_thread, reply, Failure, Retry, Verdict};
use crate::config::Secret;
use crate::mqtt::transport::Endpoint;

/// What this program calls itself.
pub const AGENT: &str = concat!("eyot/", env!("CARGO_PKG_VERSION"));

/// `[[uplink]]` with an HTTP URL.
#[derive(Clone, Debug)]
pub struct Options {
    /// Server.
    pub endpoint: Endpoint,
    /// Path and query.
    pub path: String,
    /// How records stand beside each other.
    pub format: Format,
    /// How the body is compressed.
    pub compress: Compress,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<Secret>,
    /// For one request with its answer.
    pub timeout: Duration,
}

/// An HTTP endpoint.
#[derive(Debug)]
pub struct HttpStore {
    options: Options,
    client: Client,
    /// `POST <url>`, for messages.
    request: String,
    gateway: String,
    name: String,
    /// Read when needed, and again when it was not accepted: tokens expire, and are renewed where they lie.
    bearer: Option<HeaderValue>,
}

impl HttpStore {
    /// For outputs of `gateway` on the uplink `name`.
    pub fn new(options: Options, gateway: &str, name: &str) -> Self {
        let client = Client::new(options.endpoint.clone(), options.timeout);
        let path = options.path.split('?').next().unwrap_or_default();
        let request = format!("POST {}{path}", options.endpoint.origin());
        Self { options, client, request, gateway: gateway.to_owned(), name: name.to_owned(), bearer: None }
    }

    /// Server and path.
    pub fn address(&self) -> String {
        self.request.clone()
    }

    /// Connects.
    ///
    /// # Errors
    /// Why it is not connected.
    pub async fn open(&mut self) -> Result<(), Failure> {
        self.client.open().await
    }

    /// Posts a part of a batch.
    ///
    /// # Errors
    /// Why it is not known to be stored.
    pub async fn put(&mut self, part: &Part) -> Result<Verdict, Failure> {
        let request = self.post(part).await?;
        let answer = self.client.send(request).await?;
        let verdict = reply::judge(&self.request, &Reply::from(&answer));
        if matches!(&verdict, Err(Failure { retry: Retry::Slowly, .. })) {
            self.bearer = None;
        }
        verdict
    }

    async fn post(&mut self, part: &Part) -> Result<Request<Full<Bytes>>, Failure> {
        let (gateway, records, format, compress) =
            (self.gateway.clone(), part.clone(), self.options.format, self.options.compress);
        let body = off_thread(move || body::encode(&gateway, records.records(), format, compress)).await?;
        let (first, last) = part.span();
        let key = format!("{}-{}-{}-{}-{last}", escape(&self.gateway, ""), first.epoch, self.name, first.seq);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.options.path)
            .header(HOST, self.options.endpoint.authority())
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, format.content_type())
            .header("Idempotency-Key", key);
        if let Some(coding) = compress.content_encoding() {
            request = request.header(CONTENT_ENCODING, coding);
        }
        if let Some(bearer) = self.bearer()? {
            request = request.header(AUTHORIZATION, bearer);
        }
        let unfit = |e| Failure::slowly(format!("{} cannot be a request: {e}; check the url", self.request));
        request.body(Full::new(Bytes::from(body))).map_err(unfit)
    }

    fn bearer(&mut self) -> Result<Option<HeaderValue>, Failure> {
        if let (None, Some(secret)) = (&self.bearer, &self.options.token) {
            let token = secret.read().map_err(|reason| Failure::slowly(format!("token: {reason}")))?;
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Failure::slowly("the token holds a character that no header may hold; write it anew"))?;
            value.set_sensitive(true);
            self.bearer = Some(value);
        }
        Ok(self.bearer.clone())
    }
}
