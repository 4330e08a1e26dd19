//! The contract of a container: pure types and parsers, shared by the half inside the container
//! (`disco`) and the half outside (`cake`, `host`).
//!
//! Nothing here reads a file, opens a socket or starts a process, and nothing here imports another
//! module of ours. Reading order: [`text`] turns bytes into a tree, [`tree`] merges and looks up,
//! [`schema`] judges, [`rule`] says what happens then and [`render`] how a file is made of it; [`layer`]
//! is what carries all three, [`manifest`] the contract file; [`account`], [`capability`] and [`rlimit`]
//! say whom a command runs as and within what, [`health`] how it is told to be well, [`metrics`] what it
//! counts and [`logline`] what it writes to its log; [`mod@line`] reads a command, [`json`] writes without
//! memory; [`dockerfile`] edits what an image is built from, and [`elf`] tells a static program; [`exit`],
//! [`signal`], [`duration`], [`mod@time`], [`bytes`], [`hash`], [`quantity`], [`problem`] and [`report`] are the
//! small vocabulary of all.

pub mod account;
pub mod bytes;
pub mod capability;
pub mod dockerfile;
pub mod duration;
pub mod elf;
pub mod exit;
pub mod hash;
pub mod health;
pub mod json;
pub mod layer;
pub mod line;
pub mod logline;
pub mod manifest;
pub mod metrics;
pub mod problem;
pub mod quantity;
pub mod render;
pub mod report;
pub mod rlimit;
pub mod rule;
pub mod schema;
pub mod signal;
pub mod suggest;
pub mod text;
pub mod time;
pub mod tree;
