//! What is asked of the editor, and what it answers.

use super::config::{Build, Effective};
use crate::contract::problem::Problem;

/// What is to be baked in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is said about the build.
    pub build: Build,
    /// What goes in front of the image's command.
    pub prefix: Vec<String>,
    /// What is copied into the image, in order.
    pub copies: Vec<CopyLine>,
    /// What is run in the build after that, as root.
    pub install: Option<Vec<String>>,
    /// What looks at the finished image in the build; the image's command follows these words.
    pub verify: Option<Vec<String>>,
    /// The check of the image's health, where it has none yet.
    pub health: Option<Vec<String>>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            build: Build::default(),
            prefix: ["/usr/bin/disco", "--"].map(str::to_owned).into(),
            copies: Vec::new(),
            install: None,
            verify: None,
            health: None,
        }
    }
}

/// One COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyLine {
    /// The image or stage it is copied from; `None` is the build context.
    pub from: Option<String>,
    /// The file or directory there.
    pub source: String,
    /// Where it goes; a path that ends with `/` is a directory.
    pub target: String,
}

impl CopyLine {
    /// From the build context.
    #[must_use]
    pub fn new(source: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            from: None,
            source: source.into(),
            target: target.into(),
        }
    }
}

/// A Dockerfile with the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baked {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Whether these are other bytes than before.
    pub changed: bool,
    /// Whether somebody had changed the block that was there; what they wrote is gone.
    pub was_edited: bool,
    /// The image's command without the block.
    pub before: Argv,
    /// The image's command with it.
    pub after: Argv,
    /// What the image is as far as it is known.
    pub effective: Effective,
    /// What is odd.
    pub warnings: Vec<Problem>,
}

/// What an image runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Argv {
    /// ENTRYPOINT; empty means none.
    pub entrypoint: Vec<String>,
    /// CMD; empty means none. `None` where only the build knows, and it does not change.
    pub cmd: Option<Vec<String>>,
}

/// A Dockerfile without the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbaked {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Whether there was a block.
    pub changed: bool,
    /// The lines of blocks that somebody had changed; what they wrote is gone.
    pub edited: Vec<usize>,
}
