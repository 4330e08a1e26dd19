//! Build time: takes layers, a contract and disco, and bakes them into a Dockerfile or an image.
//!
//! It runs no container; that is for `host`.

pub mod builder;
pub mod disco;
pub mod failure;
pub mod files;
pub mod layers;
pub mod ui;
