//! placeholder
use super::Publisher;
use crate::disco::settings::ConsulSettings;
/// x
pub async fn run(_settings: ConsulSettings, _publisher: Publisher) {}
/// x
pub async fn run_service(_settings: ConsulSettings, _s: String, _publisher: Publisher) {}
