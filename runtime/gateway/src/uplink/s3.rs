//! `s3://`: each batch is an object.
//!
//! Its key is `<prefix>/date=<YYYY-MM-DD>/gateway=<gateway>/<uplink>-<epoch>-<first seq>-<last seq>.ndjson.zst`, with
//! the day (UTC) on which the gateway received what the records were made of, the numbers of 20 digits, so that keys of an
//! epoch sort as the records do. A batch that is tried again, for whatever reason, overwrites itself. Only after a crash
//! of the gateway, when it does not know any more what was stored, may records stand in a second object whose range
//! overlaps the first; `seq` tells.
//!
//! [`object_store`] makes and signs the requests; they travel over our own connections, and are tried again by
//! [`runner`](super::runner) as everything is.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{HeaderValue, HOST};
use hyper::{Request, Response, Uri};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use object_store::path::Path;
use object_store::{Attribute, Attributes, ClientOptions, ObjectStore, PutOptions, RetryConfig};
use tokio::sync::Mutex;

use super::body::{self, Compress, Format};
use super::client::{Client, Reply};
use super::work::Part;
use super::{off_thread, reply, Failure, Verdict};
use crate::config::Secret;
use crate::mqtt::transport::Endpoint;

/// `[[uplink]]` with an S3 URL.
#[derive(Clone, Debug)]
pub struct Options {
    /// Server, which is asked in path style: `<server>/<bucket>/<key>`.
    pub endpoint: Endpoint,
    /// Bucket.
    pub bucket: String,
    /// What keys begin with, without slashes around it; may be empty.
    pub prefix: String,
    /// Region, part of each signature.
    pub region: String,
    /// Name of the access key.
    pub access_key: String,
    /// The secret that belongs to it.
    pub secret_key: Secret,
    /// How objects are compressed.
    pub compress: Compress,
    /// For one request with its answer.
    pub timeout: Duration,
}

/// A bucket.
#[derive(Debug)]
pub struct S3Store {
    options: Options,
    wire: Wire,
    gateway: String,
    name: String,
    /// Made at each [`open`](Self::open), so that a renewed secret is read.
    bucket: Option<AmazonS3>,
}

impl S3Store {
    /// For outputs of `gateway` on the uplink `name`.
    pub fn new(options: Options, gateway: &str, name: &str) -> Self {
        let client = Client::new(options.endpoint.clone(), options.timeout);
        let wire = Wire(Arc::new(Shared { client: Mutex::new(client), last: std::sync::Mutex::default() }));
        Self { options, wire, gateway: gateway.to_owned(), name: name.to_owned(), bucket: None }
    }

    /// Server and bucket.
    pub fn address(&self) -> String {
        format!("PUT {}/{}", self.options.endpoint.origin(), self.options.bucket)
    }

    /// Reads the secret and connects.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(&mut self) -> Result<(), Failure> {
        let Options { endpoint, bucket, region, access_key, secret_key, .. } = &self.options;
        let secret = secret_key.read().map_err(|reason| Failure::slowly(format!("secret key: {reason}")))?;
        // Trying again is the runner's, which can be told to end meanwhile.
        let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let built = AmazonS3Builder::new()
            .with_endpoint(endpoint.origin())
            .with_allow_http(endpoint.tls.is_none())
            .with_bucket_name(bucket)
            .with_region(region)
            .with_access_key_id(access_key)
            .with_secret_access_key(secret)
            .with_retry(once)
            .with_http_connector(self.wire.clone())
            .build();
        self.bucket = Some(
            built.map_err(|e| Failure::slowly(format!("{}: {e}; check the keys of this uplink", self.address())))?,
        );
        self.wire.0.client.lock().await.open().await
    }

    /// Stores a part of a batch as one object.
    ///
    /// # Errors
    /// Why it is not known to be stored.
    pub async fn put(&mut self, part: &Part) -> Result<Verdict, Failure> {
        let Some(bucket) = &self.bucket else { return Err(Failure::soon("not open")) };
        let (gateway, records, compress) = (self.gateway.clone(), part.clone(), self.options.compress);
        let work = move || body::encode(&gateway, records.records(), Format::Ndjson, compress);
        let body = off_thread(work).await?;
        let (suffix, kind) = form(compress);
        let key = key(&self.options.prefix, &self.gateway, &self.name, part, suffix);
        let attributes = Attributes::from_iter([(Attribute::ContentType, kind)]);
        let options = PutOptions { attributes, ..PutOptions::default() };
        *self.wire.last() = None;
        let result = bucket.put_opts(&key, Bytes::from(body).into(), options).await;
        let answer = self.wire.last().take();
        match (result, answer) {
            (Ok(_), _) => Ok(Verdict::Stored),
            (Err(_), Some(Err(failure))) => Err(failure),
            (Err(error), Some(Ok(answer))) => {
                // What a server refuses here is the bucket, the key or the signature, never a record.
                reply::judge_opaque(&self.address(), &answer)?;
                Err(Failure::soon(format!("{}: {error}", self.address())))
            }
            (Err(error), None) => Err(Failure::soon(format!("{}: {error}", self.address()))),
        }
    }
}

/// Suffix and media type.
fn form(compress: Compress) -> (&'static str, &'static str) {
    match compress {
        Compress::None => ("", "application/x-ndjson"),
        Compress::Gzip => (".gz", "application/gzip"),
        Compress::Zstd => (".zst", "application/zstd"),
    }
}

fn key(prefix: &str, gateway: &str, uplink: &str, part: &Part, suffix: &str) -> Path {
    let (first, last) = part.span();
    let date = part.records().first().map_or_else(String::new, |record| record.date());
    let name = format!("{uplink}-{}-{:020}-{last:020}.ndjson{suffix}", first.epoch, first.seq);
    let mut parts: Vec<_> = prefix.split('/').filter(|part| !part.is_empty()).collect();
    let (date, gateway) = (format!("date={date}"), format!("gateway={gateway}"));
    parts.extend([date.as_str(), gateway.as_str(), name.as_str()]);
    Path::from_iter(parts)
}

/// Our connection, as [`object_store`] asks for it.
#[derive(Clone, Debug)]
struct Wire(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Mutex<Client>,
    /// What came of the last request: the store's own error does not tell status and `Retry-After`.
    last: std::sync::Mutex<Option<Result<Reply, Failure>>>,
}

impl Wire {
    fn last(&self) -> std::sync::MutexGuard<'_, Option<Result<Reply, Failure>>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, request: HttpRequest) -> Result<Response<Bytes>, Failure> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|e| Failure::soon(e.to_string()))?.to_bytes();
        // A server takes the path; the rest of the address is its `Host`.
        let host = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        let host = host.ok_or_else(|| Failure::slowly("the request names no server; check the endpoint"))?;
        let path = parts.uri.path_and_query().cloned();
        parts.uri = path.map_or_else(Uri::default, Uri::from);
        parts.headers.insert(HOST, host);
        self.0.client.lock().await.send(Request::from_parts(parts, Full::new(body))).await
    }
}

impl HttpConnector for Wire {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        match self.send(request).await {
            Ok(response) => {
                *self.last() = Some(Ok(Reply::from(&response)));
                Ok(response.map(HttpResponseBody::from))
            }
            Err(failure) => {
                let error = HttpError::new(HttpErrorKind::Unknown, std::io::Error::other(failure.to_string()));
                *self.last() = Some(Err(failure));
                Err(error)
            }
        }
    }
}
