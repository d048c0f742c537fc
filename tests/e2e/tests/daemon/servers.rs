//! Far ends of uplinks that are no brokers. Each runs on a thread of its own until it is dropped.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::{service_fn, Service as _};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::sync::oneshot;

/// An S3 server cuts all requests at the beginning of each cycle, for about as long as acknowledgements take to be noted
/// on disk: one that came too early is then a loss, if the daemon is killed.
const S3_TROUBLE_MS: u128 = 2_000;
const S3_CYCLE_MS: u128 = 3_000;

/// A running server.
pub struct Server {
    pub addr: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Gives each connection to `serve`.
    fn start<F: Future<Output = ()> + 'static>(serve: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let accept = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::task::spawn_local(serve(tcp));
            }
        };
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async {
                tokio::task::spawn_local(accept);
                let _ = ended.await;
            });
        });
        Self { addr, end: Some(end), thread: Some(thread) }
    }

    /// An S3 server whose buckets are the directories in `root`. It knows the key `barn` with the secret `s3cret`,
    /// and cuts connections before it has taken what they bring.
    pub fn s3(root: &Path) -> Self {
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
        builder.set_auth(SimpleAuth::from_single("barn", "s3cret"));
        let service = builder.build().into_shared();
        let started = Instant::now();
        Self::start(move |tcp| {
            let service = service.clone();
            let faulty = service_fn(move |request| {
                let cut = started.elapsed().as_millis() % S3_CYCLE_MS < S3_TROUBLE_MS;
                let answer = (!cut).then(|| service.call(request));
                async move {
                    let Some(answer) = answer else { return Err(io::Error::other("cut")) };
                    answer.await.map_err(|_| io::Error::other("no answer"))
                }
            });
            async move { drop(http1::Builder::new().serve_connection(TokioIo::new(tcp), faulty).await) }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What an HTTP server does with its requests, by their number modulo a cycle.
#[derive(Clone, Copy)]
pub struct Faults {
    pub cycle: usize,
    /// 503 and `Retry-After: 1`; the body is not taken.
    pub busy: usize,
    /// The body is taken, then the connection ends without an answer.
    pub cut: usize,
}

/// A body with this word is answered by 422, and not taken.
pub const POISON: &str = "poison";

/// A request whose body was taken.
#[derive(Clone)]
pub struct Taken {
    pub idempotency_key: String,
    pub body: Bytes,
}

/// An HTTP server with faults.
pub struct Http {
    pub server: Server,
    got: Arc<Mutex<Got>>,
}

#[derive(Default)]
struct Got {
    requests: usize,
    taken: Vec<Taken>,
    busy: usize,
    cut: usize,
}

impl Http {
    pub fn start(faults: Faults) -> Self {
        let got = Arc::new(Mutex::new(Got::default()));
        let shared = Arc::clone(&got);
        let server = Server::start(move |tcp| {
            let got = Arc::clone(&shared);
            let service = service_fn(move |request| answer(request, faults, Arc::clone(&got)));
            async move { drop(http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await) }
        });
        Self { server, got }
    }

    /// What was taken, in order.
    pub fn taken(&self) -> Vec<Taken> {
        lock(&self.got).taken.clone()
    }

    /// How many requests were told to wait, and how many were cut.
    pub fn faults(&self) -> (usize, usize) {
        let got = lock(&self.got);
        (got.busy, got.cut)
    }
}

fn lock(got: &Mutex<Got>) -> MutexGuard<'_, Got> {
    got.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(request: Request<Incoming>, faults: Faults, got: Arc<Mutex<Got>>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    // Of a gateway that was killed a part may come; that is no request.
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let mut got = lock(&got);
    let turn = got.requests % faults.cycle;
    got.requests += 1;
    if turn == faults.busy {
        got.busy += 1;
        let response = Response::builder().status(503).header("retry-after", "1");
        return response.body(Full::default()).map_err(io::Error::other);
    }
    if body.windows(POISON.len()).any(|part| part == POISON.as_bytes()) {
        return Response::builder().status(422).body("what is this?".into()).map_err(io::Error::other);
    }
    let key = parts.headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    got.taken.push(Taken { idempotency_key: key.expect("each request has a key"), body });
    if turn == faults.cut {
        got.cut += 1;
        return Err(io::Error::other("cut"));
    }
    Ok(Response::new(Full::default()))
}
