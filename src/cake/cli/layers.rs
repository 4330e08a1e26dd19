//! The words that concern layers: where they come from, and `cake layer`, `search` and `index`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

const SOURCES: &str = "\
A layer that is only named is looked for in the directories of CAKE_PATH
(joined by `:`), in .cake/layers, among those that cake carries, and in the
index.";

/// Where layers come from.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Layers")]
pub struct SourceArgs {
    /// A further layer: NAME, ./PATH or git+URL[@REVISION][#SUBDIRECTORY]; may be given more than once
    #[arg(long = "layer", value_name = "LAYER")]
    pub layers: Vec<String>,

    /// What concerns the index and the network.
    #[command(flatten)]
    pub net: NetArgs,

    /// Fail if anything is not as cake.lock has it
    #[arg(long)]
    pub locked: bool,
}

/// How the network is used.
#[derive(Debug, Default, Args)]
pub struct NetArgs {
    /// URL or path of the index; goes before the variable LAYERCAKE_API and cake.conf
    #[arg(long, value_name = "URL")]
    pub layer_endpoint: Option<String>,

    /// A file of certificates (PEM) of further authorities to trust; else LAYERCAKE_CACERT
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// Permit http and unverified git transports
    #[arg(long)]
    pub insecure: bool,

    /// Use no network: what is not here is an error
    #[arg(long, conflicts_with = "layer_endpoint")]
    pub offline: bool,
}

/// `cake layer`.
#[derive(Debug, Args)]
#[command(after_help = SOURCES)]
pub struct LayerArgs {
    /// The layers: NAME, ./PATH or git+URL[@REVISION][#SUBDIRECTORY]
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,

    /// The directory they are put into, each under its name [default: where disco looks for them, while
    /// an image is built; else the working directory]
    #[arg(short = 'd', long = "dir", alias = "directory", value_name = "DIR")]
    pub directory: Option<PathBuf>,

    /// Replace layers that are there
    #[arg(short, long)]
    pub force: bool,

    /// Fetch only: run no `install`
    #[arg(short, long, conflicts_with = "run_install")]
    pub no_install: bool,

    /// Run the `install` of each layer, even outside a container
    #[arg(long)]
    pub run_install: bool,

    /// What concerns the index and the network.
    #[command(flatten)]
    pub net: NetArgs,
}

/// `cake search`.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Words to look for; `owner:acme` looks in one field
    #[arg(value_name = "TERM", required = true)]
    pub terms: Vec<String>,

    /// How to print what was found
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub format: SearchFormat,

    /// What concerns the index and the network.
    #[command(flatten)]
    pub net: NetArgs,
}

/// How results of a search are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SearchFormat {
    /// Columns.
    Text,
    /// An array of objects.
    Json,
    /// A list of maps.
    Yaml,
}

/// `cake index`.
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// The directory whose subdirectories are layers
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,

    /// Where the index is written [default: DIR]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}
