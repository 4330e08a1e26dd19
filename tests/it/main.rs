//! Everything that is tested through the disco program: one binary, a module per behaviour.

#![allow(
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test that cannot go on fails, and helpers serve some modules only"
)]

/// Disco baked into Dockerfiles, and what the images run then.
mod bake;
/// cake as a program: Dockerfiles edited, images built and wrapped, layers by verb.
mod cake;
/// What the command line takes and refuses, settings included.
mod cli;
/// From data to a running command: rules, handlers, limits.
mod configure;
/// Consul, and everything that can happen to it.
mod consul;
/// The contract file, as it is held to at the start.
mod contract;
/// As whom and within what the command runs.
mod credentials;
/// Logs: written into pipes and files of the container, read out of it.
mod data;
/// In real containers, with the disco that ships.
mod docker;
/// Under the names of other inits: their options, variables, codes and words.
mod dropin;
/// Signals that come while disco starts.
mod early;
/// etcd, v3 and v2, and everything that can happen to it.
mod etcd;
/// The applications of `examples/`, baked and run.
mod examples;
/// What breaks while the command runs, and what goes on all the same.
mod faults;
/// Under the filters and limits of a container engine, with the disco that ships.
mod filters;
/// Files and directories as sources, however they change.
mod flat;
/// What runs before the command and after it.
mod hooks;
/// The process side: signals, exit statuses, what the command finds.
mod init;
/// Layers that are installed, in the build of an image.
mod install;
/// Layers: found, pinned, written, listed.
#[cfg(feature = "cake")]
mod layers;
/// Metrics: written by the container, counted by disco, shown and sent.
mod metrics;
/// What the README says is so.
mod readme;
/// Files that rules render.
mod render;
/// The command started again, by a rule or by policy.
mod restart;
/// What this binary does when disco runs it as a command.
mod roles;
/// The layers that ship, and what programs read out of what they write.
mod shipped;
/// Everything at once, for as long as is wanted.
mod soak;
/// Whoever asks the container how it is, and whether it is ready and well.
mod status;
/// The end: asked for, forced, and what is done with those that are left.
mod stop;
/// Servers, containers, and disco itself as objects that tests hold.
#[allow(
    dead_code,
    unused_imports,
    reason = "each helper serves some tests only"
)]
mod support;
/// Colour, keys and job control.
mod terminal;
/// A layer tried by its author, and what comes of it.
mod trial;
/// Restricted worlds, and those shared with strangers.
mod worlds;
