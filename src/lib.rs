//! A container has a contract; `cake` bakes it into the image and runs such images, `disco` is PID 1
//! inside and enforces it: discover, validate, configure, run, observe, stop.

pub mod contract;
pub mod disco;
pub mod sys;
