//! placeholder
use super::Publisher;
use crate::disco::settings::FlatSettings;
/// x
pub async fn run(_settings: FlatSettings, _publisher: Publisher) {}
