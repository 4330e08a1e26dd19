//! Files from the web: whom TLS trusts, and one GET whose answer has an end. It knows nothing of what
//! an index says.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tempfile::NamedTempFile;

use crate::contract::layer::repo;
use crate::contract::problem::Problem;

/// The largest answer of an index, in bytes.
const MAX_BODY: usize = 8 << 20;

/// More hops than this go in circles.
const MAX_REDIRECTS: usize = 5;

/// The authorities whose certificates count: those of the system (or of `SSL_CERT_FILE`), and those
/// of one more file.
#[derive(Debug, Default)]
pub struct Trust {
    extra: Vec<CertificateDer<'static>>,
    bundle: Option<NamedTempFile>,
}

impl Trust {
    /// Trusts the system, and the authorities in `cacert`.
    ///
    /// # Errors
    /// A file that cannot be read or holds no certificate.
    pub fn new(cacert: Option<&Path>) -> Result<Self, Problem> {
        let Some(file) = cacert else {
            return Ok(Self::default());
        };
        let extra: Vec<_> = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect)
            .map_err(|error| Problem::new(format!("cannot be read: {error}")).in_file(file))?;
        if extra.is_empty() {
            return Err(Problem::new("holds no PEM certificate").in_file(file));
        }
        // git takes one file in place of the system's, so it has to hold both.
        let mut bundle = NamedTempFile::new().map_err(|error| {
            Problem::new(format!("cannot make a file for the authorities: {error}"))
        })?;
        for certificate in extra
            .iter()
            .chain(&rustls_native_certs::load_native_certs().certs)
        {
            let text = BASE64_STANDARD.encode(certificate);
            let lines: Vec<&str> = text
                .as_bytes()
                .chunks(64)
                .filter_map(|line| std::str::from_utf8(line).ok())
                .collect();
            writeln!(
                bundle,
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----",
                lines.join("\n")
            )
            .map_err(|error| {
                Problem::new(format!("cannot write the authorities for git: {error}"))
            })?;
        }
        Ok(Self {
            extra,
            bundle: Some(bundle),
        })
    }

    /// What git is to trust, if not what it trusts anyway.
    #[must_use]
    pub fn bundle(&self) -> Option<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let named = variable("SSL_CERT_FILE").filter(|_| variable("GIT_SSL_CAINFO").is_none());
        // git is started elsewhere.
        let named = named.and_then(|file| std::path::absolute(file).ok());
        self.bundle
            .as_ref()
            .map(|bundle| bundle.path().to_owned())
            .or(named)
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(self.extra.iter().cloned());
        match roots.is_empty() {
            true => Err(
                "this system has no certificate authorities; name a file with \
                         --cacert"
                    .to_owned(),
            ),
            false => Ok(roots),
        }
    }
}

/// A client of the web.
pub struct Web {
    client: Client,
    runtime: tokio::runtime::Runtime,
    insecure: bool,
}

impl Web {
    /// A client that takes nothing over plain HTTP unless it is `insecure`, and waits for an answer
    /// as long as `timeout`.
    ///
    /// # Errors
    /// That this system has nothing to trust, or no room for a client.
    pub fn new(trust: &Trust, insecure: bool, timeout: Duration) -> Result<Self, Problem> {
        let broken = |error: String| Problem::new(format!("cannot speak HTTPS: {error}"));
        let roots = match trust.roots() {
            Err(_) if insecure => RootCertStore::empty(),
            roots => roots.map_err(broken)?,
        };
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| broken(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let redirects = Policy::custom(move |attempt| {
            let is_private = attempt.url().scheme() == "https" || insecure;
            if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error("it redirects in circles")
            } else if !is_private {
                attempt.error("it redirects to plain http, where anybody could answer")
            } else {
                attempt.follow()
            }
        });
        let client = Client::builder()
            .http1_only()
            .user_agent(concat!("cake/", env!("CARGO_PKG_VERSION")))
            .redirect(redirects)
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .timeout(timeout)
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| broken(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| broken(error.to_string()))?;
        Ok(Self {
            client,
            runtime,
            insecure,
        })
    }

    /// The body at a URL; `None` if there is nothing (404, 410).
    ///
    /// # Errors
    /// No answer, or one that is no good; told without what is secret in the URL.
    pub fn get(&self, url: &str) -> Result<Option<Vec<u8>>, Problem> {
        let problem = |message: String| Problem::new(format!("{}: {message}", repo::shown(url)));
        let is_plain = self.insecure && url.starts_with("http://");
        if !is_plain && !url.starts_with("https://") {
            return Err(problem(
                "is not https, so anybody could answer; use https, or --insecure".to_owned(),
            ));
        }
        self.runtime
            .block_on(self.fetch(url))
            .map_err(|message| problem(format!("cannot be had: {message}")))
    }

    async fn fetch(&self, url: &str) -> Result<Option<Vec<u8>>, String> {
        let mut response = self.client.get(url).send().await.map_err(reason)?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status => return Err(format!("it answered {status}")),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reason)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(format!("the answer is larger than {} MiB", MAX_BODY >> 20));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body))
    }
}

/// The innermost cause says it: "connection refused", "invalid peer certificate: UnknownIssuer".
fn reason(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let error = error.without_url();
    let mut cause: &dyn Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    // An authority that has the name of a known one makes for a bad signature.
    let is_unknown = ["UnknownIssuer", "BadSignature"]
        .iter()
        .any(|word| text.contains(word));
    match is_unknown {
        true => format!("{text}; name its authority with --cacert"),
        false => text,
    }
}
