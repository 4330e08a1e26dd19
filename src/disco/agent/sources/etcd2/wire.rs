//! What the keys API of etcd v2 answers, as it is on the wire.

use serde::Deserialize;

/// Of a successful read, `node` is there; of a refusal, `error_code`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AnswerRaw {
    pub(super) node: Option<NodeRaw>,
    #[serde(rename = "errorCode")]
    pub(super) error_code: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeRaw {
    /// Absolute; left out for the root.
    pub(super) key: String,
    pub(super) dir: bool,
    pub(super) value: String,
    pub(super) nodes: Vec<NodeRaw>,
}
