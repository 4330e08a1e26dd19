//! Whether the command listens where its contract says (asyncy A-50): looked at once, a while after the
//! start, and reported. Nothing comes of it but a line in the log.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Init;
use crate::sys::proc;

/// How long a command may take until it should listen.
const PATIENCE: Duration = Duration::from_secs(10);

impl Init {
    /// When to look, if there is anything to look for.
    pub(super) fn ports_due(&self) -> Option<Instant> {
        (!self.duties.ports.is_empty()).then(|| Instant::now() + PATIENCE)
    }

    /// Says which of the declared ports nobody listens on.
    pub(super) fn report_ports(&self) {
        // One that is on its way out, or to come, listens when it does.
        if self.service.stopping || self.service.pid().is_none() {
            return;
        }
        for port in &self.duties.ports {
            match proc::is_listening(port.container, port.udp) {
                Some(true) => info!("listening on {port}, as the contract says"),
                Some(false) => warn!(
                    "nobody listens on {port} {PATIENCE:?} after the start, and the contract lists it under `ports`"
                ),
                None => {}
            }
        }
    }
}
