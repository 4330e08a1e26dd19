//! The `cake` program.

fn main() {}
