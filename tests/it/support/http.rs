//! One HTTP request to a server of the tests, without TLS.

use super::DEADLINE;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The status line and the headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// If there is no connection, or no complete answer within [`DEADLINE`].
pub(crate) fn request(
    addr: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&addr, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    // HTTP/1.0, because the end of its answers is the end of the connection.
    let mut message = format!(
        "{method} {target} HTTP/1.0\r\nHost: {addr}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        message += &[name, ": ", value, "\r\n"].concat();
    }
    message += "\r\n";
    stream.write_all(&[message.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;

    let answer = String::from_utf8_lossy(&answer);
    let parsed = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Response {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    });
    parsed.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("no HTTP answer: {answer:?}"),
        )
    })
}
