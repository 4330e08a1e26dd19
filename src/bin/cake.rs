//! The `cake` program: hands its arguments over to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(layer_cake::cake::run(std::env::args_os()))
}
