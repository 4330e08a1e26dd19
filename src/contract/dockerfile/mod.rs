//! Dockerfiles: taken apart without loss, understood as far as the image's command goes, and given or
//! relieved of the block that puts disco in front of it.
//!
//! [`parse`] knows lines, [`words`] and `shell` what stands on them. Bytes in, bytes out; files,
//! engines and registries are the caller's.

pub mod parse;
mod shell;
pub mod words;

pub use parse::{Dockerfile, Instruction, Stage, parse};
