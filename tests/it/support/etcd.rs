//! An etcd 3.4, or a cluster of them: real, on ports of their own, spoken to through the JSON
//! gateway.

use super::server::{Server, retry_on_clash};
use super::{DEADLINE, Pki, Response, free_port, local, request, wait_for};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;

/// How an [`Etcd`] differs from a plain one.
#[derive(Clone, Default)]
pub(crate) struct EtcdOptions {
    /// Serves the keys API of etcd 2 too. It has a tree of its own.
    pub(crate) v2: bool,
    /// Serves HTTPS too, on [`Etcd::https_addr`].
    pub(crate) tls: Option<Pki>,
    /// Wants a client certificate there.
    pub(crate) verify_client: bool,
}

/// A running etcd. Dropping it kills it.
pub(crate) struct Etcd {
    dir: tempfile::TempDir,
    name: String,
    options: EtcdOptions,
    /// HTTP, HTTPS, the other members.
    ports: [u16; 3],
    /// `--initial-cluster`.
    cluster: String,
    /// User and password, once authentication is on.
    login: Option<(String, String)>,
    server: Option<Server>,
}

impl Etcd {
    pub(crate) fn start() -> Self {
        Self::start_with(EtcdOptions::default())
    }

    pub(crate) fn start_with(options: EtcdOptions) -> Self {
        retry_on_clash(|| {
            let mut etcd = Self::new("one", options.clone());
            etcd.cluster = etcd.as_member();
            etcd.boot()?;
            Some(etcd)
        })
    }

    fn new(name: &str, options: EtcdOptions) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            name: name.to_owned(),
            options,
            ports: [0; 3].map(|_| free_port()),
            cluster: String::new(),
            login: None,
            server: None,
        }
    }

    pub(crate) fn http_addr(&self) -> SocketAddr {
        local(self.ports[0])
    }

    pub(crate) fn https_addr(&self) -> SocketAddr {
        local(self.ports[1])
    }

    /// Calls a method of the gateway, `kv/range` for example, as the user of [`Etcd::enable_auth`]
    /// if there is one.
    ///
    /// # Panics
    /// If it fails.
    pub(crate) fn call(&self, method: &str, message: &Value) -> Value {
        let token = self.login.as_ref().map(|(name, password)| {
            let answer = self.call_with(
                None,
                "auth/authenticate",
                &json!({"name": name, "password": password}),
            );
            answer["token"].as_str().unwrap().to_owned()
        });
        self.call_with(token.as_deref(), method, message)
    }

    pub(crate) fn put(&self, key: &str, value: impl AsRef<[u8]>) {
        self.call(
            "kv/put",
            &json!({"key": base64(key), "value": base64(value)}),
        );
    }

    pub(crate) fn delete(&self, key: &str) {
        self.call("kv/deleterange", &json!({"key": base64(key)}));
    }

    /// Calls the keys API of etcd 2, `/v2/keys/a?dir=true` for example. `form` is the body.
    pub(crate) fn v2(&self, method: &str, target: &str, form: &str) -> Response {
        let form_type = ("Content-Type", "application/x-www-form-urlencoded");
        request(
            self.http_addr(),
            method,
            target,
            &[form_type],
            form.as_bytes(),
        )
        .unwrap()
    }

    /// Sets a key in the tree of the keys API of etcd 2. The value has to be fit for a form.
    pub(crate) fn put_v2(&self, key: &str, value: &str) {
        let response = self.v2("PUT", &format!("/v2/keys/{key}"), &format!("value={value}"));
        assert!(matches!(response.status, 200 | 201), "{response:?}");
    }

    pub(crate) fn delete_v2(&self, key: &str) {
        let response = self.v2("DELETE", &format!("/v2/keys/{key}?recursive=true"), "");
        assert_eq!(response.status, 200, "{response:?}");
    }

    /// Forgets all revisions but the newest. Watches from an older one are cancelled.
    pub(crate) fn compact(&self) {
        let revision = &self.call("kv/range", &json!({"key": base64("\0")}))["header"]["revision"];
        self.call(
            "kv/compaction",
            &json!({"revision": revision, "physical": true}),
        );
    }

    /// Turns authentication on. `user` may do everything, and this handle acts as it from now on.
    pub(crate) fn enable_auth(&mut self, user: &str, password: &str) {
        self.call("auth/role/add", &json!({"name": "root"}));
        // etcd insists on a user with this name.
        for name in [Some("root"), (user != "root").then_some(user)]
            .into_iter()
            .flatten()
        {
            self.call(
                "auth/user/add",
                &json!({"name": name, "password": password}),
            );
            self.call("auth/user/grant", &json!({"user": name, "role": "root"}));
        }
        self.call("auth/enable", &json!({}));
        self.login = Some((user.to_owned(), password.to_owned()));
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        self.server = None;
    }

    /// Starts it again with its data on the same ports, killing it first if it runs.
    pub(crate) fn restart(&mut self) {
        self.stop();
        retry_on_clash(|| self.boot());
    }

    /// Starts it again without its data on the same ports: its history goes back to revision 1.
    pub(crate) fn wipe(&mut self) {
        self.stop();
        std::fs::remove_dir_all(self.dir.path().join("data")).unwrap();
        self.login = None;
        self.restart();
    }

    /// Stops it from answering, its connections open.
    pub(crate) fn freeze(&self) {
        self.server.as_ref().unwrap().signal(Signal::SIGSTOP);
    }

    pub(crate) fn thaw(&self) {
        self.server.as_ref().unwrap().signal(Signal::SIGCONT);
    }

    fn call_with(&self, token: Option<&str>, method: &str, message: &Value) -> Value {
        let token = token.map(|token| ("Authorization", token));
        let body = message.to_string();
        let target = format!("/v3/{method}");
        let response = request(
            self.http_addr(),
            "POST",
            &target,
            token.as_slice(),
            body.as_bytes(),
        )
        .unwrap();
        assert_eq!(response.status, 200, "{method}: {}", response.body);
        serde_json::from_str(&response.body).unwrap()
    }

    fn boot(&mut self) -> Option<()> {
        let server = self.spawn().ready(|| self.is_healthy())?;
        self.server = Some(server);
        Some(())
    }

    fn is_healthy(&self) -> bool {
        let health = request(self.http_addr(), "GET", "/health", &[], b"");
        health.is_ok_and(|response| response.status == 200)
    }

    /// Its entry in `--initial-cluster`.
    fn as_member(&self) -> String {
        format!("{}=http://{}", self.name, local(self.ports[2]))
    }

    fn spawn(&self) -> Server {
        let [client, client_tls, peer] = self.ports.map(local);
        let mut urls = vec![format!("http://{client}")];
        let mut command = Command::new("etcd");
        if let Some(pki) = &self.options.tls {
            urls.push(format!("https://{client_tls}"));
            command
                .arg("--cert-file")
                .arg(pki.server_cert())
                .arg("--key-file")
                .arg(pki.server_key());
            if self.options.verify_client {
                command
                    .arg("--client-cert-auth")
                    .arg("--trusted-ca-file")
                    .arg(pki.ca());
            }
        }
        let urls = urls.join(",");
        command
            .args(["--name", &self.name, "--data-dir"])
            .arg(self.dir.path().join("data"))
            .args([
                "--listen-client-urls",
                &urls,
                "--advertise-client-urls",
                &urls,
            ])
            .args(["--listen-peer-urls", &format!("http://{peer}")])
            .args(["--initial-advertise-peer-urls", &format!("http://{peer}")])
            .args(["--initial-cluster", &self.cluster])
            // A tenth of the defaults, on which a start would spend a second.
            .args(["--heartbeat-interval", "20", "--election-timeout", "200"]);
        if self.options.v2 {
            command.arg("--enable-v2");
        }
        Server::spawn(command, self.dir.path().join("log"))
    }
}

/// A cluster with one leader. Dropping it kills all members.
pub(crate) struct EtcdCluster {
    members: Vec<Etcd>,
}

impl EtcdCluster {
    pub(crate) fn start(size: usize) -> Self {
        retry_on_clash(|| {
            let mut members: Vec<Etcd> = (0..size)
                .map(|n| Etcd::new(&format!("member-{n}"), EtcdOptions::default()))
                .collect();
            let cluster = members
                .iter()
                .map(Etcd::as_member)
                .collect::<Vec<_>>()
                .join(",");
            // All before the first is ready: it will not be without the others.
            let mut servers = Vec::new();
            for member in &mut members {
                member.cluster.clone_from(&cluster);
                servers.push(member.spawn());
            }
            for (member, server) in members.iter_mut().zip(servers) {
                member.server = Some(server.ready(|| member.is_healthy())?);
            }
            Some(Self { members })
        })
    }

    /// The members that run.
    pub(crate) fn members(&self) -> &[Etcd] {
        &self.members
    }

    /// Kills the leader, waits until the rest have another, and says where the old one was.
    pub(crate) fn kill_leader(&mut self) -> SocketAddr {
        let old = wait_for("a leader", DEADLINE, || self.members.iter().position(leads));
        let old = self.members.remove(old).http_addr();
        wait_for("another leader", DEADLINE, || {
            self.members.iter().any(leads).then_some(())
        });
        old
    }
}

fn leads(member: &Etcd) -> bool {
    let status = member.call("maintenance/status", &json!({}));
    member.is_healthy() && status["leader"] == status["header"]["member_id"]
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}
