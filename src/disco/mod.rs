//! x
pub mod agent;
pub mod log;
pub mod settings;
