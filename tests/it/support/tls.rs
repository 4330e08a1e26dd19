//! A private certificate authority with a server and a client, as PEM files.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files of one authority. The keys are ECDSA P-256. The last clone removes the files.
#[derive(Clone)]
pub(crate) struct Pki(Arc<tempfile::TempDir>);

impl Pki {
    /// A new authority, which no other trusts.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "layer-cake test authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);

        let pki = Self(Arc::new(tempfile::tempdir().unwrap()));
        fs::write(pki.ca(), certificate.pem()).unwrap();
        // The gateway of etcd is a client of etcd and shows the certificate of the server there.
        let both = [
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        pki.issue(&issuer, "server", &["localhost", "127.0.0.1"], &both);
        pki.issue(&issuer, "client", &[], &both[1..]);
        pki
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Valid for `localhost` and 127.0.0.1.
    pub(crate) fn server_cert(&self) -> PathBuf {
        self.path("server.pem")
    }

    pub(crate) fn server_key(&self) -> PathBuf {
        self.path("server.key")
    }

    pub(crate) fn client_cert(&self) -> PathBuf {
        self.path("client.pem")
    }

    pub(crate) fn client_key(&self) -> PathBuf {
        self.path("client.key")
    }

    /// The same key in the older form that `consul tls` writes, `EC PRIVATE KEY`.
    pub(crate) fn client_key_sec1(&self) -> PathBuf {
        self.path("client.sec1.key")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn issue(
        &self,
        issuer: &Issuer<'_, KeyPair>,
        name: &str,
        hosts: &[&str],
        usages: &[ExtendedKeyUsagePurpose],
    ) {
        let hosts: Vec<String> = hosts.iter().copied().map(String::from).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        write_key(
            &self.path(&format!("{name}.key")),
            "PRIVATE KEY",
            key.serialized_der(),
        );
        write_key(
            &self.path(&format!("{name}.sec1.key")),
            "EC PRIVATE KEY",
            &sec1(key.serialized_der()),
        );
    }
}

/// The older form of a P-256 key in PKCS #8, where it is the last field, an OCTET STRING (0x04) of
/// 109 (0x6d) bytes. Only the name of the curve is missing there, between the private and the
/// public part.
fn sec1(pkcs8: &[u8]) -> Vec<u8> {
    let (wrapping, key) = pkcs8.split_at(pkcs8.len() - 109);
    assert!(
        wrapping.ends_with(&[0x04, 0x6d]) && key.starts_with(&[0x30, 107]),
        "not the key we know"
    );
    let curve = [
        0xa0, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    ];
    [&[0x30, 107 + 12], &key[2..39], &curve, &key[39..]].concat()
}

fn write_key(path: &Path, label: &str, der: &[u8]) {
    let base64 = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    fs::write(
        path,
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            lines.join("\n")
        ),
    )
    .unwrap();
}
