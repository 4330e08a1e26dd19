//! Dockerfiles: taken apart without loss, understood as far as the image's command goes, and given or
//! relieved of the block that puts disco in front of it.
//!
//! [`mod@parse`] knows lines and [`stages`] what belongs together; [`words`] and `shell` read what
//! stands on a line. [`image`] is what engines tell of bases; `walk` follows stages from there with a
//! `state`, and [`config`] holds what comes of it. `block` is the place in the file that is ours, and
//! [`edit`] fills it as a [`request`] says. [`ignore`] reads `.dockerignore`.
//!
//! Bytes in, bytes out; files, engines and registries are the caller's.

mod block;
pub mod config;
pub mod edit;
pub mod ignore;
pub mod image;
pub mod parse;
pub mod request;
mod shell;
pub mod stages;
mod state;
mod walk;
pub mod words;

pub use config::{Build, Command, Effective, Gap, User, effective};
pub use edit::{bake, unbake};
pub use ignore::Ignore;
pub use image::{Bases, Health, ImageConfig};
pub use parse::{Dockerfile, Instruction, parse};
pub use request::{Argv, Baked, CopyLine, Request, Unbaked};
pub use stages::Stage;
