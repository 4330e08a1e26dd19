//! Build time: takes layers, a contract and disco, and bakes them into a Dockerfile or an image.
//!
//! [`cli`] is what can be said, [`run()`] one run. [`layers`] finds layers and holds them to the lock,
//! `project` reads what the user wrote, `ingredients` what goes into the image, `build` and `wrap` put it
//! there with a [`builder`]. [`lint`], [`trial`] and [`new_layer`] are for those who write layers.
//!
//! It runs no container; that is for `host`.

mod authors;
mod base;
mod build;
pub mod builder;
mod child;
pub mod cli;
mod describe;
mod difference;
pub mod disco;
pub mod failure;
pub mod files;
mod ingredients;
pub mod layers;
mod library;
pub mod lint;
pub mod needs;
pub mod new_layer;
mod project;
mod prospect;
mod run;
mod said;
pub mod trial;
pub mod ui;
mod verbs;
mod wanted;
mod wrap;

pub use run::run;
