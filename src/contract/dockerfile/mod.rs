//! Dockerfiles: taken apart without loss, understood as far as the image's command goes, and given or
//! relieved of the block that puts disco in front of it.
//!
//! [`parse`] knows lines, [`words`] and `shell` what stands on them; [`config`] follows stages and
//! bases to what the image is; `block` is the place that is ours in the file, and [`edit`] fills it;
//! [`ignore`] reads `.dockerignore`. Bytes in, bytes out; files, engines and registries are the
//! caller's.

mod block;
pub mod config;
pub mod edit;
pub mod ignore;
pub mod parse;
mod shell;
pub mod words;

pub use config::{Bases, Build, Effective, Gap, Health, ImageConfig, effective};
pub use edit::{Argv, Baked, Copy, Request, Unbaked, bake, unbake};
pub use parse::{Dockerfile, Instruction, Stage, parse};
