//! A web server of a test, with or without TLS, that answers as the test wants it; and git behind it.

use super::{DEADLINE, Pki};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// The server, as the client names it.
    pub(crate) fn host(&self) -> &str {
        self.header("Host").unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What is answered.
pub(crate) enum Answer {
    /// Status, headers, body.
    Reply(u16, Vec<(String, String)>, Vec<u8>),
    /// Nothing, until the client gives up.
    Silence,
    /// A body without end.
    Endless,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Reply(200, Vec::new(), body.into())
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Reply(status, Vec::new(), b"<html>no</html>".to_vec())
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::Reply(
            302,
            vec![("Location".to_owned(), to.to_owned())],
            Vec::new(),
        )
    }

    /// A file below `root`, or that of a directory, as any web server answers.
    pub(crate) fn file(root: &Path, asked: &Asked) -> Self {
        assert!(!asked.path().contains(".."));
        let mut path = root.join(asked.path().trim_start_matches('/'));
        if path.is_dir() {
            path.push("index.html");
        }
        std::fs::read(path).map_or_else(|_| Self::status(404), Self::ok)
    }

    /// What `git http-backend` answers about the repositories below `root`.
    pub(crate) fn git(root: &Path, asked: &Asked) -> Self {
        let mut backend = Command::new("git");
        backend
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("REQUEST_METHOD", &asked.method)
            .env("PATH_INFO", asked.path())
            .env(
                "QUERY_STRING",
                asked.target.split_once('?').map_or("", |parts| parts.1),
            )
            .env("CONTENT_LENGTH", asked.body.len().to_string())
            .env("REMOTE_ADDR", "127.0.0.1");
        for (header, variable) in [
            ("Content-Type", "CONTENT_TYPE"),
            ("Content-Encoding", "HTTP_CONTENT_ENCODING"),
            ("Git-Protocol", "GIT_PROTOCOL"),
        ] {
            if let Some(value) = asked.header(header) {
                backend.env(variable, value);
            }
        }
        let mut child = backend
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let body = asked.body.clone();
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&body)));
        let output = child.wait_with_output().unwrap().stdout;
        feeder.join().unwrap();
        let end = output
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
            .unwrap();
        let head = std::str::from_utf8(&output[..end]).unwrap();
        let mut status = 200;
        let mut headers = Vec::new();
        for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
            match name {
                "Status" => status = value.split(' ').next().unwrap().parse().unwrap(),
                _ => headers.push((name.to_owned(), value.to_owned())),
            }
        }
        Self::Reply(status, headers, output[end + 4..].to_vec())
    }
}

/// A running server on a port of 127.0.0.1. Dropping it ends it.
pub(crate) struct Web {
    addr: SocketAddr,
    scheme: &'static str,
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// With a certificate of `pki`, or without TLS.
    pub(crate) fn start(
        pki: Option<&Pki>,
        answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let config = pki.map(|pki| {
            let chain = CertificateDer::pem_file_iter(pki.server_cert())
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let key = PrivateKeyDer::from_pem_file(pki.server_key()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            Arc::new(config)
        });
        let scheme = if config.is_some() { "https" } else { "http" };
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (stopped, seen, answer) = (Arc::clone(&stop), Arc::clone(&asked), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (config, seen, answer) =
                    (config.clone(), Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let stream = stream.unwrap();
                    stream.set_read_timeout(Some(DEADLINE)).unwrap();
                    // A client that goes away is no fault of the server.
                    let _ = match config {
                        None => serve(stream, &seen, &*answer),
                        Some(config) => {
                            let connection = ServerConnection::new(config).unwrap();
                            serve(StreamOwned::new(connection, stream), &seen, &*answer)
                        }
                    };
                });
            }
        });
        Self {
            addr,
            scheme,
            stop,
            asked,
            thread: Some(thread),
        }
    }

    /// Without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.addr.port())
    }

    /// Method and target of every request so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    stream: impl Read + Write,
    seen: &Mutex<Vec<String>>,
    answer: &dyn Fn(&Asked) -> Answer,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut asked = Asked::default();
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    asked.method = words.next().unwrap_or_default();
    asked.target = words.next().unwrap_or_default();
    if asked.target.is_empty() {
        return Ok(());
    }
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => asked.headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    let length = asked
        .header("Content-Length")
        .map_or(0, |length| length.parse().unwrap());
    asked.body = vec![0; length];
    stream.read_exact(&mut asked.body)?;
    seen.lock()
        .unwrap()
        .push(format!("{} {}", asked.method, asked.target));
    let (status, headers, body) = match answer(&asked) {
        Answer::Reply(status, headers, body) => (status, headers, body),
        Answer::Silence => {
            let mut byte = [0];
            return stream.read_exact(&mut byte);
        }
        Answer::Endless => {
            let stream = stream.get_mut();
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[")?;
            loop {
                stream.write_all(&[b' '; 65536])?;
            }
        }
    };
    let mut message = format!(
        "HTTP/1.1 {status} Whatever\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        message += &[&name, ": ", &value, "\r\n"].concat();
    }
    message += "\r\n";
    let stream = stream.get_mut();
    stream.write_all(&[message.as_bytes(), &body].concat())?;
    stream.flush()
}
