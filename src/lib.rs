//! A container has a contract; `cake` bakes it into the image and runs such images, `disco` is PID 1
//! inside and enforces it: discover, validate, configure, run, observe, stop.
//!
//! # The map, in reading order
//!
//! - [`contract`]: pure types and parsers, no I/O. Text to trees, schemas, rules, exit codes, signals.
//! - [`sys`]: the kernel where std and nix do not reach; all unsafe code.
//! - [`disco`]: inside the container. [`disco::contract`] holds it to its contract file,
//!   [`disco::init`] is PID 1, [`disco::agent`] its child that
//!   configures, and between them [`disco::link`]. [`disco::explain`] and [`disco::health`] ask the one
//!   that runs. [`disco::dropin`] is disco under the names of other inits.
//! - `cake`: build time. Puts disco, layers and contract into Dockerfiles and images. What it carries
//!   is the data in `layers/`.
//!
//! # Who may import whom
//!
//! `contract` imports nothing of ours; `sys` imports `exit`, `capability` and `rlimit` of it only;
//! `disco` imports both. Inside `disco`, `init` knows of `agent` one function, which it calls in a
//! forked child; `agent` never imports `init`. `cake` and `host`, the build-time and host-side halves
//! behind the feature `cake`, import `contract`; they never import `disco`, nor it them.
//!
//! # Invariants
//!
//! - Init has one thread and one place where it waits. It parses nothing after its settings.
//! - Each process waits for its own children only; `waitpid(-1)` never runs beside another wait.
//! - No value that a source delivered is ever logged, nor any token.
//! - Nothing polls where the kernel or the backend can wake us.
//! - cake settles everything before it writes anything, and changes no byte of a Dockerfile but its block.
//! - Every failure that ends the container has a documented exit code and a last line that says why.

#[cfg(feature = "cake")]
pub mod cake;
pub mod contract;
pub mod disco;
pub mod sys;
