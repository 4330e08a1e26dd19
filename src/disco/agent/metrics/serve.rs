//! The endpoint that Prometheus and its like scrape: `GET /metrics` over TCP or a socket in the
//! filesystem. One question, one answer; no other path, no other method, nothing that changes anything.

use std::cell::RefCell;
use std::convert::Infallible;
use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::SockType;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{debug, info, warn};

use crate::contract::metrics::model::Family;
use crate::contract::metrics::openmetrics;
use crate::disco::settings::data::Listen;
use crate::sys::socket;

/// Somebody who wants to know, and how to tell.
pub type Asked = oneshot::Sender<Vec<Family>>;

/// How many may be connected.
const CONNECTIONS: usize = 32;
/// A page from this size on is large.
const LARGE: usize = 1 << 20;
/// How long a client may take for its question.
const QUESTION: Duration = Duration::from_secs(2);
/// How long it may take for its question and for the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after the kernel has refused a connection for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause before an address that is taken is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where clients come from.
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener, File),
}

impl Door {
    /// Opens it.
    async fn open(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            Listen::Unix(path) => {
                let (listener, file) = bind(path)?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => Ok(Box::pin(listener.accept().await?.0)),
            Self::Unix(listener, _) => Ok(Box::pin(listener.accept().await?.0)),
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "http://{address}/metrics"),
                Err(error) => write!(f, "{error}"),
            },
            Self::Unix(_, file) => write!(f, "unix:{}", file.0.to_string_lossy()),
        }
    }
}

/// Answers at `listen` for ever; `ask` is told of each question.
pub async fn serve(listen: Listen, ask: mpsc::UnboundedSender<Asked>) {
    let mut is_told = false;
    loop {
        match Door::open(&listen).await {
            Ok(door) => {
                info!("metrics at {door}");
                return accept_all(&door, ask).await;
            }
            // An agent before this one may not be gone yet, or an address not be there yet.
            Err(error) if !std::mem::replace(&mut is_told, true) => warn!(
                "metrics cannot be had at {listen}: {error}; trying again. See `disco.metrics`"
            ),
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// A socket's file, taken away in the end unless it is another's by then.
struct File(CString, Option<(u64, u64)>);

impl Drop for File {
    fn drop(&mut self) {
        if self.1.is_some() && self.1 == socket::identity(&self.0) {
            let _ = nix::unistd::unlink(self.0.as_c_str());
        }
    }
}

/// Listens on a socket that everybody in the container may ask: it says nothing that `/metrics` of any
/// program does not.
fn bind(path: &Path) -> io::Result<(UnixListener, File)> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let listener = socket::bind_path(&path, SockType::Stream, 0o666)?;
    socket::start_listening(&listener)?;
    let listener = UnixListener::from_std(listener.into())?;
    let identity = socket::identity(&path);
    Ok((listener, File(path, identity)))
}

/// A connection of either kind, as one, so that there is one server in the program.
trait Connection: AsyncRead + AsyncWrite {}
impl<S: AsyncRead + AsyncWrite> Connection for S {}
type Socket = Pin<Box<dyn Connection>>;

async fn accept_all(door: &Door, ask: mpsc::UnboundedSender<Asked>) {
    let tickets = Arc::new(Semaphore::new(CONNECTIONS));
    let pages = Rc::new(Pages::default());
    loop {
        // Beyond that the kernel keeps them waiting.
        let Ok(ticket) = tickets.clone().acquire_owned().await else {
            return;
        };
        let client = match door.accept().await {
            Ok(client) => client,
            Err(error) => {
                debug!("a connection was not accepted: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (pages, ask) = (pages.clone(), ask.clone());
        tokio::task::spawn_local(async move {
            let _ticket = ticket;
            attend(client, &pages, &ask).await;
        });
    }
}

/// Answers one client.
async fn attend(client: Socket, pages: &Pages, ask: &mpsc::UnboundedSender<Asked>) {
    let service = service_fn(|request| answer(request, pages, ask));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(QUESTION)
        .keep_alive(false)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(client), service);
    match tokio::time::timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a client that asked for metrics: {error}"),
        Err(_) => debug!("a client that asked for metrics took too long"),
    }
}

/// The latest page of each form. A large one that slow clients are still reading is given to others as
/// well, so that there are never many of them.
#[derive(Default)]
struct Pages([RefCell<Option<(Bytes, Instant)>>; 2]);

impl Pages {
    async fn get(&self, is_open: bool, ask: &mpsc::UnboundedSender<Asked>) -> Option<Bytes> {
        let [plain, open] = &self.0;
        let page = if is_open { open } else { plain };
        if let Some((text, at)) = &*page.borrow()
            && text.len() > LARGE
            && !text.is_unique()
            && at.elapsed() < PATIENCE
        {
            return Some(text.clone());
        }
        let (sender, receiver) = oneshot::channel();
        ask.send(sender).ok()?;
        let families = receiver.await.ok()?;
        let text = match is_open {
            true => openmetrics::write(&families),
            false => openmetrics::write_prometheus(&families),
        };
        let text = Bytes::from(text);
        page.replace(Some((text.clone(), Instant::now())));
        Some(text)
    }
}

async fn answer(
    request: Request<Incoming>,
    pages: &Pages,
    ask: &mpsc::UnboundedSender<Asked>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "GET /metrics is all there is\n",
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    if !matches!(path, "/metrics" | "/") {
        return Ok(plain(
            StatusCode::NOT_FOUND,
            "GET /metrics is all there is\n",
        ));
    }
    let accepted = request.headers().get_all(ACCEPT).iter();
    let wants_open = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/openmetrics-text"));
    let Some(text) = pages.get(wants_open, ask).await else {
        return Ok(plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "this container comes to its end\n",
        ));
    };
    let kind = match wants_open {
        true => openmetrics::CONTENT_TYPE,
        false => openmetrics::PROMETHEUS_CONTENT_TYPE,
    };
    let mut response = Response::new(Full::new(text));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
