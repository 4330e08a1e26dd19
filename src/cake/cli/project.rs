//! The words of the verbs that work on a project's own files, and of those that describe cake.

use std::path::PathBuf;

use clap::Args;

use super::SourceArgs;

/// `cake show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The layer: a directory, or the name of one of CAKE_PATH or of those that cake carries
    #[arg(value_name = "LAYER")]
    pub layer: PathBuf,
}

/// `cake lint`.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// Layers (a directory, or the name of one that cake carries), contracts, cake.conf
    /// [default: what is in the working directory]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Take warnings for errors
    #[arg(long)]
    pub strict: bool,
}

/// `cake test`.
#[derive(Debug, Args)]
#[command(after_help = "\
A handler gets the scratch directory as DESTDIR, and has to write below it:
what it writes elsewhere is written on this machine.")]
pub struct TestArgs {
    /// The layers: a directory, or the name of one that cake carries
    #[arg(value_name = "LAYER", required = true)]
    pub layers: Vec<PathBuf>,

    /// Data to try it on, in place of its example
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,

    /// Write what comes out as what is expected from now on
    #[arg(long, conflicts_with = "data")]
    pub update: bool,

    /// Keep the scratch directory, and say where it is
    #[arg(long)]
    pub keep: bool,

    /// The disco to try it with; else CAKE_DISCO [default: the one that belongs to cake]
    #[arg(long, value_name = "FILE")]
    pub disco: Option<PathBuf>,
}

/// `cake new-layer`.
#[derive(Debug, Args)]
pub struct NewLayerArgs {
    /// The name of the layer
    #[arg(value_name = "NAME")]
    pub name: String,

    /// The directory in which it gets one of its own
    #[arg(
        short = 'd',
        long = "dir",
        alias = "directory",
        value_name = "DIR",
        default_value = "."
    )]
    pub directory: PathBuf,

    /// Begin with a handler in place of a template
    #[arg(long)]
    pub handler: bool,
}

/// `cake lock` and `cake vendor`.
#[derive(Debug, Args)]
pub struct LockArgs {
    /// The file that names the layers; without it, cake.conf if there is one
    #[arg(value_name = "CONFIG")]
    pub config: Option<PathBuf>,

    /// The directory of cake.conf and cake.lock
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub context: PathBuf,

    /// What concerns layers.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// `cake update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The layers to move [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// The file that names the layers; without it, cake.conf if there is one
    #[arg(long, value_name = "CONFIG")]
    pub config: Option<PathBuf>,

    /// The directory of cake.conf and cake.lock
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub context: PathBuf,

    /// What concerns layers.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// `cake completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `cake man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The directory for cake.1, cake-build.1 and the others
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}
