//! Build time: takes layers, a contract and disco, and bakes them into a Dockerfile or an image.
//!
//! It runs no container; that is for `host`.

pub mod failure;
pub mod layers;
pub mod ui;
