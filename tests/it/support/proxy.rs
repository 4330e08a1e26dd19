//! A TCP proxy before a server, that turns into each kind of broken network on demand.
//!
//! A change of mode concerns the connections there are and those to come. What was done to a
//! connection stays done: one that went dark stays dark when the mode is `Pass` again, as behind a
//! firewall that lost its state.

use super::{DEADLINE, local, wait_for};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How soon the threads notice a change of mode while nothing else happens, in milliseconds.
const TICK: u8 = 5;

/// What the proxy does with connections.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    /// Forwards both ways.
    Pass,
    /// Closes its port and all connections.
    Refuse,
    /// Accepts and reads, and never answers.
    Blackhole,
    /// Resets all connections.
    Reset,
    /// Ends its own half of all connections, and reads on.
    HalfClose,
    /// Forwards, the answers in pieces of at most `chunk` bytes with a `delay` after each.
    Slow { chunk: usize, delay: Duration },
    /// Answers each request itself with this status and body. Closes connections that were
    /// forwarded.
    Http { status: u16, body: String },
}

/// A running proxy. Dropping it closes all connections.
pub(crate) struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: SocketAddr,
    /// The mode, and whether the acceptor has seen it.
    mode: Mutex<(Mode, bool)>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    /// The acceptor shall end.
    ended: AtomicBool,
}

impl Proxy {
    /// A proxy before `upstream`, in [`Mode::Pass`].
    pub(crate) fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(local(0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            mode: Mutex::new((Mode::Pass, true)),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(listener)
        });
        Self {
            addr,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the mode. On return no connection is taken in the old one any more; those there are
    /// follow within a few milliseconds.
    pub(crate) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = (mode, false);
        wait_for("the proxy to change its mode", DEADLINE, || {
            self.shared.mode.lock().unwrap().1.then_some(())
        });
    }

    /// How many connections were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many of them are open.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.mode.lock().unwrap().0 = Mode::Refuse;
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = self.acceptor.take().unwrap().join();
    }
}

impl Shared {
    fn mode(&self) -> Mode {
        self.mode.lock().unwrap().0.clone()
    }

    fn accept(self: Arc<Self>, listener: TcpListener) {
        let addr = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut listener = Some(listener);
        while !self.ended.load(Ordering::SeqCst) {
            let mode = self.mode();
            match mode {
                Mode::Refuse => listener = None,
                _ if listener.is_none() => {
                    // Another process may hold the port for a moment as its side of a connection.
                    let bound = wait_for("the port of the proxy", DEADLINE, || {
                        TcpListener::bind(addr).ok()
                    });
                    bound.set_nonblocking(true).unwrap();
                    listener = Some(bound);
                }
                _ => {}
            }
            {
                let mut current = self.mode.lock().unwrap();
                current.1 |= current.0 == mode;
            }
            let Some(listener) = &listener else {
                std::thread::sleep(Duration::from_millis(TICK.into()));
                continue;
            };
            if !readable([listener])[0] {
                continue;
            }
            if let Ok((client, _)) = listener.accept() {
                self.accepted.fetch_add(1, Ordering::SeqCst);
                self.open.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&self);
                std::thread::spawn(move || {
                    shared.serve(client);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }
    }

    /// Serves one connection to its end, which is when this returns and drops it.
    fn serve(&self, mut client: TcpStream) -> Option<()> {
        client.set_nonblocking(false).ok()?;
        client.set_nodelay(true).ok()?;
        let mut server: Option<TcpStream> = None;
        let mut dark = false;
        let mut request = Vec::new();
        loop {
            let mode = self.mode();
            match &mode {
                Mode::Refuse => return None,
                Mode::Reset => {
                    // Closing it discards what is unsent and sends RST.
                    let now = libc::linger {
                        l_onoff: 1,
                        l_linger: 0,
                    };
                    setsockopt(&client, sockopt::Linger, &now).ok()?;
                    return None;
                }
                Mode::HalfClose if !dark => {
                    client.shutdown(Shutdown::Write).ok()?;
                    dark = true;
                }
                Mode::Blackhole => dark = true,
                _ => {}
            }
            if dark {
                if readable([&client])[0] {
                    read(&mut client, usize::MAX)?;
                }
                continue;
            }
            if let Mode::Http { status, body } = &mode {
                if server.is_some() {
                    return None;
                }
                if readable([&client])[0] {
                    request.extend(read(&mut client, usize::MAX)?);
                    if let Some(head) = take_request(&mut request) {
                        let length = body.len();
                        write!(
                            client,
                            "HTTP/1.1 {status} Broken\r\nContent-Length: {length}\r\n\r\n{body}"
                        )
                        .ok()?;
                        if head.contains("http/1.0") {
                            return None; // The end of the connection is what its client waits for.
                        }
                    }
                }
                continue;
            }
            if server.is_none() {
                let stream = TcpStream::connect(self.upstream).ok()?;
                stream.set_nodelay(true).ok()?;
                server = Some(stream);
            }
            let upstream = server.as_mut()?;
            let [from_client, from_server] = readable([&client, upstream]);
            // The mode may have changed while nothing was readable.
            if self.mode() != mode {
                continue;
            }
            if from_client {
                upstream.write_all(&read(&mut client, usize::MAX)?).ok()?;
            }
            if from_server {
                let (chunk, delay) = match mode {
                    Mode::Slow { chunk, delay } => (chunk, delay),
                    _ => (usize::MAX, Duration::ZERO),
                };
                client.write_all(&read(upstream, chunk)?).ok()?;
                std::thread::sleep(delay);
            }
        }
    }
}

/// Which of `sockets` have something to read or have ended, after a tick at most.
fn readable<const N: usize, S: std::os::fd::AsFd>(sockets: [&S; N]) -> [bool; N] {
    let mut polled = sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
    let _ = poll(&mut polled, TICK);
    polled.map(|fd| fd.any().unwrap_or(false))
}

/// What there is to read, `limit` bytes at most. `None` at the end.
fn read(stream: &mut TcpStream, limit: usize) -> Option<Vec<u8>> {
    let mut buffer = vec![0; limit.min(65536)];
    let count = stream.read(&mut buffer).ok().filter(|&count| count > 0)?;
    buffer.truncate(count);
    Some(buffer)
}

/// Takes one complete request off the front of `bytes` and returns its head, in lower case.
fn take_request(bytes: &mut Vec<u8>) -> Option<String> {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let (head, _) = text.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    let end = head.len() + 4 + length;
    (bytes.len() >= end).then(|| {
        bytes.drain(..end);
        head.to_owned()
    })
}
