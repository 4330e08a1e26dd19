//! Why cake could not do what it was asked, and the exit code that says so. It prints nothing.

use crate::contract::exit;
use crate::contract::problem::Problem;

/// What was asked for did not come about: a build failed, something is not there or cannot be reached,
/// a check found a difference.
pub const FAILED: u8 = 1;

/// All that stood in the way, told together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code: [`FAILED`], [`exit::USAGE`] or [`exit::CONFIG`].
    pub code: u8,
    /// At least one, each with its place and a remedy.
    pub problems: Vec<Problem>,
}

impl Failure {
    /// It was tried, and failed.
    #[must_use]
    pub fn failed(problem: Problem) -> Self {
        Self {
            code: FAILED,
            problems: vec![problem],
        }
    }

    /// It was asked for in a way that cannot be.
    #[must_use]
    pub fn usage(problem: Problem) -> Self {
        Self {
            code: exit::USAGE,
            problems: vec![problem],
        }
    }

    /// Files say what cannot be.
    #[must_use]
    pub fn config(problems: Vec<Problem>) -> Self {
        Self {
            code: exit::CONFIG,
            problems,
        }
    }
}
