//! The HTTP client of the sources: endpoints with failover, TLS, bounded answers. And TLS alone, for a
//! probe that reads no more than a status line.
//!
//! The only file that names the HTTP and TLS crates. HTTP/1.1 only, no redirects (they would carry
//! tokens elsewhere), no proxies. Errors never show a URL, which may hold a token, nor a body.

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use reqwest::RequestBuilder;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use reqwest::{Client, Response, StatusCode};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};

use crate::disco::settings::{Endpoint, HttpSettings};

/// Largest answer accepted; a tree of configuration is never that large.
const MAX_BODY: usize = 64 << 20;

/// How long a connection whose peer acknowledges nothing may live.
const PEER_GONE: Duration = Duration::from_secs(30);

/// Why a request has no usable answer.
#[derive(Debug)]
pub enum HttpError {
    /// No connection, no answer in time, a broken one.
    Transport(String),
    /// The answer is larger than accepted.
    TooLarge,
    /// The settings do not make a client: a certificate file that is not there, say.
    Client(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(reason) | Self::Client(reason) => f.write_str(reason),
            Self::TooLarge => write!(f, "the answer is larger than {} MB", MAX_BODY >> 20),
        }
    }
}

impl From<reqwest::Error> for HttpError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Transport("no answer in time".to_owned());
        }
        // The innermost cause says it: "connection refused", "invalid peer certificate: Expired".
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::Transport(uncapitalised(&cause.to_string()))
    }
}

/// As a fragment of a message: "Connection refused" loses its capital, "DNS" does not.
pub(in crate::disco) fn uncapitalised(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    headers: reqwest::header::HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// See [`HttpError`]; an HTTP status is no error here.
pub async fn fetch(request: RequestBuilder) -> Result<Reply, HttpError> {
    whole(request.send().await?).await
}

async fn whole(mut response: Response) -> Result<Reply, HttpError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(HttpError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        body,
    })
}

/// A header value that debug output does not show.
///
/// # Errors
/// Text that no header can carry, such as one with a line break.
pub fn sensitive(text: &str) -> Result<HeaderValue, HttpError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        HttpError::Client("a token or password has characters that no header can carry".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Sends a request whose answer is a stream of lines. An answer other than 200 is read whole and
/// is the inner error.
///
/// # Errors
/// See [`HttpError`].
pub async fn stream(request: RequestBuilder) -> Result<Result<Lines, Reply>, HttpError> {
    let response = request.send().await?;
    if response.status() != StatusCode::OK {
        return Ok(Err(whole(response).await?));
    }
    Ok(Ok(Lines {
        response,
        buffer: Vec::new(),
        searched: 0,
    }))
}

/// A streamed answer, line by line.
pub struct Lines {
    response: Response,
    buffer: Vec<u8>,
    /// So far there is no newline in the buffer. A long line comes in thousands of chunks.
    searched: usize,
}

impl Lines {
    /// The next line without its newline; `None` when the stream has ended. Nothing is lost when
    /// this is dropped before it is done.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        loop {
            let unsearched = &self.buffer[self.searched..];
            if let Some(length) = unsearched.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + length;
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            match self.response.chunk().await? {
                Some(chunk) if self.buffer.len() + chunk.len() > MAX_BODY => {
                    return Err(HttpError::TooLarge);
                }
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// The endpoints of a source, one of them current.
pub struct Pool {
    settings: HttpSettings,
    current: usize,
    client: Option<Client>,
}

impl Pool {
    /// Starts with the first endpoint.
    #[must_use]
    pub fn new(settings: HttpSettings) -> Self {
        Self {
            settings,
            current: 0,
            client: None,
        }
    }

    /// The endpoint in use, for messages.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        let endpoints = &self.settings.endpoints;
        // Settings without an endpoint do not pass the check.
        &endpoints[self.current % endpoints.len()]
    }

    /// Number of endpoints.
    #[must_use]
    pub fn count(&self) -> usize {
        self.settings.endpoints.len()
    }

    /// Goes on to the next endpoint, with new connections and certificates read anew: what failed
    /// must not be reused, and certificates get rotated.
    pub fn rotate(&mut self) {
        self.current = (self.current + 1) % self.settings.endpoints.len();
        self.client = None;
    }

    /// The URL of a path (with query) on the endpoint in use.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let endpoint = self.endpoint();
        match (&self.settings.server_name, endpoint.base.split_once("://")) {
            // The URL bears the certificate's name, and the resolver knows where that really is.
            (Some(name), Some(("https", authority))) => {
                let port = authority.rsplit(':').next().unwrap_or("443");
                format!("https://{name}:{port}{path}")
            }
            _ => format!("{}{path}", endpoint.base),
        }
    }

    /// The client for the endpoint in use.
    ///
    /// # Errors
    /// Certificate files that cannot be read.
    pub fn client(&mut self) -> Result<Client, HttpError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = build(&self.settings, self.endpoint())?;
        self.client = Some(client.clone());
        Ok(client)
    }
}

fn build(settings: &HttpSettings, endpoint: &Endpoint) -> Result<Client, HttpError> {
    let mut builder = Client::builder()
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(settings.connect_timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(PEER_GONE / 2)
        .tcp_keepalive_interval(PEER_GONE / 6)
        .tcp_user_timeout(PEER_GONE)
        // TLS that nobody asked for costs milliseconds of reading authorities.
        .tls_backend_preconfigured(if endpoint.base.starts_with("https") {
            tls(settings)?
        } else {
            plain()?
        });
    if let Some(path) = &endpoint.unix {
        builder = builder.unix_socket(path.as_path());
    }
    if let (Some(_), Some((_, authority))) =
        (&settings.server_name, endpoint.base.split_once("://"))
    {
        builder = builder.dns_resolver(Arc::new(Fixed(authority.to_owned())));
    }
    builder
        .build()
        .map_err(|error| HttpError::Client(error.to_string()))
}

/// Resolves every name to one address: where the server really is.
struct Fixed(String);

impl Resolve for Fixed {
    fn resolve(&self, _: Name) -> Resolving {
        let authority = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host(authority).await?.collect();
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn broken(error: rustls::Error) -> HttpError {
    HttpError::Client(error.to_string())
}

/// A configuration without authorities, for endpoints that will never use it.
fn plain() -> Result<ClientConfig, HttpError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(broken)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// TLS over a connection whose certificate may be anybody's, as kubelet's probes have it.
///
/// # Errors
/// A host that no certificate could name.
pub fn unverified(
    connection: TcpStream,
    host: &str,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let said = |error: rustls::Error| error.to_string();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(said)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(provider())))
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let client = ClientConnection::new(Arc::new(config), name).map_err(said)?;
    Ok(StreamOwned::new(client, connection))
}

fn tls(settings: &HttpSettings) -> Result<ClientConfig, HttpError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(broken)?;
    let builder = if settings.verify {
        let roots = Arc::new(authorities(settings)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| HttpError::Client(error.to_string()))?;
        builder.with_webpki_verifier(verifier)
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider())))
    };
    let mut config = match &settings.client {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates(cert)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            builder.with_client_auth_cert(chain, key).map_err(broken)?
        }
    };
    // Consul offers HTTP/2 first; without this it would be chosen and not understood.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn authorities(settings: &HttpSettings) -> Result<RootCertStore, HttpError> {
    let mut roots = RootCertStore::empty();
    let mut files = Vec::new();
    files.extend(settings.ca_file.clone());
    if let Some(dir) = &settings.ca_path {
        let listed = std::fs::read_dir(dir).map_err(|error| unreadable(dir, &error))?;
        files.extend(
            listed
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.is_file()),
        );
    }
    if files.is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(HttpError::Client(
                "the image has no certificate authorities; name a file with `ca_file`".to_owned(),
            ));
        }
    }
    for file in files {
        roots.add_parsable_certificates(certificates(&file)?);
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(file, &error))?;
    if found.is_empty() {
        return Err(HttpError::Client(format!(
            "{} holds no PEM certificate",
            file.display()
        )));
    }
    Ok(found)
}

fn unreadable(file: &Path, error: &dyn fmt::Display) -> HttpError {
    HttpError::Client(format!("cannot read {}: {error}", file.display()))
}

/// Accepts any certificate, because `verify=false` asked for it. Signatures are still checked.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
