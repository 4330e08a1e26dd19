//! placeholder
use super::Publisher;
use crate::disco::settings::EtcdSettings;
/// x
pub async fn run(_settings: EtcdSettings, _publisher: Publisher) {}
