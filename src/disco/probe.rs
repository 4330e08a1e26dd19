//! Asks the command whether it is well: a request, a connection, or a program of its own.
//!
//! A request is written and its status line read with std alone: of HTTP nothing else matters here,
//! there is no runtime to start, and a server that answers badly is as wrong as one that does not.
//! TLS is the one that is linked for the sources anyway. A name that does not resolve, a handshake
//! that hangs and an answer that drips are all held to one limit, by leaving them behind.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::agent::http;
use super::settings;
use crate::contract::exit::Exit;
use crate::contract::health::Check;
use crate::contract::line;
use crate::sys;

/// Longest head of an answer.
const LONGEST: usize = 64 << 10;

/// Where a shell would be.
const SHELL: &str = "/bin/sh";

/// Runs a probe and says what it found.
///
/// # Errors
/// Why the command is not well.
pub fn run(check: &Check, limit: Duration) -> Result<String, String> {
    match check.clone() {
        Check::Http {
            tls,
            host,
            port,
            path,
        } => within(limit, move || request(tls, &host, port, &path)),
        Check::Tcp { host, port } => within(limit, move || {
            connect(&host, port).map(|_| format!("{host}:{port} accepts connections"))
        }),
        Check::Command(words) => program(&words, limit),
        Check::Line(line) if Path::new(SHELL).exists() => {
            program(&[SHELL.to_owned(), "-c".to_owned(), line], limit)
        }
        Check::Line(line) => program(&line::split(&line), limit),
    }
}

/// Has a thread do something, and goes on without it when the time is up: this process ends soon.
fn within<T: Send + 'static>(
    limit: Duration,
    act: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || done.send(act()));
    match outcome.recv_timeout(limit) {
        Ok(outcome) => outcome,
        Err(_) => Err(too_late(limit)),
    }
}

fn too_late(limit: Duration) -> String {
    format!(
        "no answer from the probe in {limit:?}, the limit set by `disco.health_timeout` or by the contract"
    )
}

fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host, port)).map_err(|error| {
        let error = http::uncapitalised(&error.to_string());
        format!("no connection to {host}:{port}: {error}")
    })
}

fn request(tls: bool, host: &str, port: u16, path: &str) -> Result<String, String> {
    let connection = connect(host, port)?;
    let status = if tls {
        get(http::unverified(connection, host)?, host, port, path)
    } else {
        get(connection, host, port, path)
    }?;
    let said = format!("{host}:{port}{path} answers with {status}");
    if (200..400).contains(&status) {
        Ok(said)
    } else {
        Err(said)
    }
}

/// Sends a GET and returns the status of the answer.
fn get(mut to: impl Read + Write, host: &str, port: u16, path: &str) -> Result<u16, String> {
    let failed = |error: std::io::Error| {
        let error = http::uncapitalised(&error.to_string());
        format!("{host}:{port} does not answer: {error}")
    };
    let (open, close) = if host.contains(':') {
        ("[", "]")
    } else {
        ("", "")
    };
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: {open}{host}{close}:{port}\r\nUser-Agent: disco/{version}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    to.write_all(text.as_bytes()).map_err(failed)?;
    to.flush().map_err(failed)?;
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(status) = status(&head) {
            return status.map_err(|()| format!("{host}:{port} does not speak HTTP"));
        }
        match to.read(&mut chunk).map_err(failed)? {
            0 => return Err(format!("{host}:{port} closes without an answer")),
            _ if head.len() > LONGEST => return Err(format!("{host}:{port} does not speak HTTP")),
            size => head.extend_from_slice(chunk.get(..size).unwrap_or_default()),
        }
    }
}

/// The status of an answer, `None` while it is incomplete. What comes before it, such as early hints
/// (103), is passed over.
fn status(mut head: &[u8]) -> Option<Result<u16, ()>> {
    loop {
        let end = head.iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8_lossy(head.get(..end)?);
        let mut words = line.split_ascii_whitespace();
        let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
        match words.next().and_then(|word| word.parse().ok()) {
            Some(100..=199) if is_http => {
                let blank = head.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
                head = head.get(blank + 4..)?;
            }
            Some(status @ 200..=599) if is_http => return Some(Ok(status)),
            _ => return Some(Err(())),
        }
    }
}

/// Runs a program, which gets a process group of its own to be killed with. What it prints goes to
/// stderr: the line on stdout is ours.
fn program(words: &[String], limit: Duration) -> Result<String, String> {
    let Some((name, arguments)) = words.split_first() else {
        return Err("the probe is empty".to_owned());
    };
    let cannot = |error: std::io::Error| {
        let error = http::uncapitalised(&error.to_string());
        format!("cannot run the probe `{name}`: {error}")
    };
    let output = sys::stderr().try_clone_to_owned().map_err(cannot)?;
    let mut child = Command::new(name)
        .args(arguments)
        .env_remove(settings::VARIABLE)
        .stdin(Stdio::null())
        .stdout(output)
        .process_group(0)
        .spawn()
        .map_err(cannot)?;
    let exit = wait(&mut child, limit)?;
    let said = format!("the probe `{name}` ended with {exit}");
    if exit.is_success() {
        Ok(format!("the probe `{name}` succeeds"))
    } else {
        Err(said)
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<Exit, String> {
    let group = i32::try_from(child.id()).unwrap_or(0);
    let (done, outcome) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| done.send(child.wait()));
        let outcome = match outcome.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => {
                // Not reaped, or only just: the group is its own as long as anybody is in it.
                let _ = sys::kill(-group, libc::SIGKILL);
                return Err(too_late(limit));
            }
            Err(RecvTimeoutError::Disconnected) => Err("cannot be waited for".to_owned()),
            Ok(status) => status.map_err(|error| error.to_string()),
        };
        let status = outcome.map_err(|reason| format!("the probe {reason}"))?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, signal) => Exit::by_signal(signal.unwrap_or(0)),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::time::Instant;

    /// A server that answers one connection with this, and its port.
    fn server(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = client.read(&mut request);
            let _ = client.write_all(answer.as_bytes());
        });
        port
    }

    fn asked(answer: &'static str) -> Result<String, String> {
        let check = Check::Http {
            tls: false,
            host: "127.0.0.1".to_owned(),
            port: server(answer),
            path: "/".to_owned(),
        };
        run(&check, Duration::from_secs(10))
    }

    #[test]
    fn a_status_from_200_to_399_is_well() {
        for (answer, is_well) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.0 204\r\n", true),
            ("HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", true),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n",
                true,
            ),
            ("HTTP/1.1 404 Not Found\r\n\r\n", false),
            ("HTTP/1.1 500 Oh\r\n\r\n", false),
            ("SSH-2.0-OpenSSH\r\n", false),
            ("HTTP/1.1 20", false),
            ("", false),
        ] {
            let told = asked(answer);
            assert_eq!(told.is_ok(), is_well, "{answer:?}: {told:?}");
        }
    }

    #[test]
    fn a_connection_is_enough_for_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let check = Check::Tcp {
            host: "127.0.0.1".to_owned(),
            port,
        };
        run(&check, Duration::from_secs(10)).unwrap();
        drop(listener);
        assert!(run(&check, Duration::from_secs(10)).is_err());
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let check = Check::Http {
            tls: true,
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
            path: "/".to_owned(),
        };
        let started = Instant::now();
        let told = run(&check, Duration::from_millis(50)).unwrap_err();
        assert!(told.contains("disco.health_timeout"), "{told}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_program_is_judged_by_its_end_and_killed_with_its_group() {
        let long = Duration::from_secs(10);
        let check = |text: &str| Check::parse(text).unwrap();
        run(&check("true"), long).unwrap();
        let told = run(&check("exit 3; true"), long).unwrap_err();
        assert!(told.ends_with("exit status 3"), "{told}");
        assert!(run(&check("no-such-program-of-ours"), long).is_err());
        let started = Instant::now();
        let told = run(&check("sleep 1000 & wait"), Duration::from_millis(50)).unwrap_err();
        assert!(told.contains("no answer"), "{told}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
