//! A Consul agent: real, alone, on ports of its own.

use super::server::{Server, retry_on_clash};
use super::{Pki, Response, free_port, local, prepared, request};
use nix::sys::signal::Signal;
use serde_json::json;
use std::net::SocketAddr;
use std::process::Command;

/// How a [`Consul`] differs from an open one in memory.
#[derive(Clone, Default)]
pub(crate) struct ConsulOptions {
    /// Turns access control on, everything denied to all but this token (a UUID).
    pub(crate) master_token: Option<String>,
    /// Serves HTTPS too, on [`Consul::https_addr`].
    pub(crate) tls: Option<Pki>,
    /// Wants a client certificate there.
    pub(crate) verify_client: bool,
    /// Keeps its state over a restart; otherwise that begins anew, the index too.
    pub(crate) durable: bool,
}

/// A running Consul. Dropping it kills it.
pub(crate) struct Consul {
    dir: tempfile::TempDir,
    options: ConsulOptions,
    /// HTTP, HTTPS, and what an agent needs for itself: server RPC, gossip.
    ports: [u16; 4],
    server: Option<Server>,
}

impl Consul {
    pub(crate) fn start() -> Self {
        Self::start_with(ConsulOptions::default())
    }

    pub(crate) fn start_with(options: ConsulOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut consul = Self {
            dir,
            options,
            ports: [0; 4],
            server: None,
        };
        retry_on_clash(|| {
            consul.ports = [0; 4].map(|_| free_port());
            consul.boot()
        });
        consul
    }

    pub(crate) fn http_addr(&self) -> SocketAddr {
        local(self.ports[0])
    }

    pub(crate) fn https_addr(&self) -> SocketAddr {
        local(self.ports[1])
    }

    /// Sends a request to the API, with the master token if there is one.
    ///
    /// # Panics
    /// If there is no answer; one with an error status is an answer.
    pub(crate) fn api(&self, method: &str, target: &str, body: &[u8]) -> Response {
        self.try_api(method, target, body).unwrap()
    }

    /// Sets a key. It has to be fit for a URL.
    pub(crate) fn put(&self, key: &str, value: impl AsRef<[u8]>) {
        let response = self.api("PUT", &format!("/v1/kv/{key}"), value.as_ref());
        assert_eq!(
            (response.status, response.body.trim()),
            (200, "true"),
            "put {key}"
        );
    }

    pub(crate) fn delete(&self, key: &str) {
        let response = self.api("DELETE", &format!("/v1/kv/{key}"), b"");
        assert_eq!(
            (response.status, response.body.trim()),
            (200, "true"),
            "delete {key}"
        );
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        self.server = None;
    }

    /// Starts it again on the same ports, killing it first if it runs.
    pub(crate) fn restart(&mut self) {
        self.stop();
        retry_on_clash(|| self.boot());
    }

    /// Stops it from answering, its connections open.
    pub(crate) fn freeze(&self) {
        self.server.as_ref().unwrap().signal(Signal::SIGSTOP);
    }

    pub(crate) fn thaw(&self) {
        self.server.as_ref().unwrap().signal(Signal::SIGCONT);
    }

    fn try_api(&self, method: &str, target: &str, body: &[u8]) -> std::io::Result<Response> {
        let token = self
            .options
            .master_token
            .as_deref()
            .map(|token| ("X-Consul-Token", token));
        request(self.http_addr(), method, target, token.as_slice(), body)
    }

    /// `None` if another process had one of the ports.
    fn boot(&mut self) -> Option<()> {
        let config = self.dir.path().join("config.json");
        std::fs::write(&config, self.config().to_string()).unwrap();
        let mut command = Command::new(prepared("CONSUL_BIN"));
        command.arg("agent").arg("-config-file").arg(config);
        if self.options.durable {
            command
                .args(["-server", "-bootstrap-expect=1", "-data-dir"])
                .arg(self.dir.path().join("data"));
        } else {
            command.arg("-dev");
        }
        let server = Server::spawn(command, self.dir.path().join("log"));
        self.server = Some(server.ready(|| {
            // There is a leader for a moment before it reads consistently and knows its tokens.
            let leader = self.try_api("GET", "/v1/status/leader", b"");
            leader.is_ok_and(|response| response.body.contains(':'))
                && self.api("GET", "/v1/kv/no-such-key?consistent", b"").status == 404
        })?);
        Some(())
    }

    fn config(&self) -> serde_json::Value {
        let [http, https, server, serf] = self.ports;
        let mut config = json!({
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "disable_update_check": true,
            "performance": {"raft_multiplier": 1},
            "ports": {
                "http": http, "https": -1, "dns": -1, "grpc": -1,
                "server": server, "serf_lan": serf, "serf_wan": -1,
            },
        });
        if let Some(token) = &self.options.master_token {
            config["acl"] =
                json!({"enabled": true, "default_policy": "deny", "tokens": {"master": token}});
        }
        if let Some(pki) = &self.options.tls {
            config["ports"]["https"] = json!(https);
            config["ca_file"] = json!(pki.ca());
            config["cert_file"] = json!(pki.server_cert());
            config["key_file"] = json!(pki.server_key());
            config["verify_incoming_https"] = json!(self.options.verify_client);
        }
        config
    }
}
