//! The words of `cake build`, `wrap` and `unbake`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::SourceArgs;

const BUILD_EXAMPLES: &str = "\
Examples:
  cake build -t app                     edit ./Dockerfile and build it
  cake build -n                         print the edited Dockerfile, change nothing
  cake build -n --in-place              edit and gather, and leave building to others
  cake build --check                    in CI: fail if cake build would change anything
  cake build --layer mysql -t app       with a layer that cake.conf does not name
  cake build --verify -t app            have disco look at the finished image
  cake build -t app -- --no-cache       the rest goes to the builder";

/// `cake build`.
#[derive(Debug, Args)]
#[command(after_help = BUILD_EXAMPLES)]
pub struct BuildArgs {
    /// The file that names the layers; without it, cake.conf if there is one
    #[arg(value_name = "CONFIG")]
    pub config: Option<PathBuf>,

    /// The Dockerfile [default: Dockerfile in the context]
    #[arg(
        short = 'd',
        long,
        short_alias = 'f',
        alias = "file",
        value_name = "FILE"
    )]
    pub dockerfile: Option<PathBuf>,

    /// The directory that COPY copies from, and where .cake and cake.lock are
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub context: PathBuf,

    /// Write the edited Dockerfile here and leave the original alone; `-` prints it and does not build
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Do not build: print the edited Dockerfile and write nothing, unless -o or --in-place says so
    #[arg(short, long)]
    pub no_build: bool,

    /// With -n: write the Dockerfile, .cake and cake.lock after all
    #[arg(long, requires = "no_build", conflicts_with = "output")]
    pub in_place: bool,

    /// Change nothing, show what would change, and exit with 1 if anything would
    #[arg(long)]
    pub check: bool,

    /// Change nothing, and show what would change and be run
    #[arg(long, conflicts_with = "check")]
    pub dry_run: bool,

    /// The stage to bake and to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,

    /// An option of the original, which means nothing here (C-3).
    #[arg(long, hide = true)]
    pub use_devel: bool,

    /// What else goes into the block.
    #[command(flatten)]
    pub block: BlockArgs,

    /// What concerns layers.
    #[command(flatten)]
    pub source: SourceArgs,

    /// What concerns the base image.
    #[command(flatten)]
    pub base: BaseArgs,

    /// What concerns disco.
    #[command(flatten)]
    pub disco: DiscoArgs,

    /// What concerns the builder.
    #[command(flatten)]
    pub builder: BuilderArgs,
}

/// What goes into the block beside disco and its layers.
#[derive(Debug, Default, Args)]
pub struct BlockArgs {
    /// Have Docker ask `disco --health` how the container is, unless the image has a HEALTHCHECK
    #[arg(long)]
    pub health: bool,

    /// Run `disco --check` at the end of the build: rules, handlers, contract, settings and command
    #[arg(long)]
    pub verify: bool,
}

/// What is known of the base image without asking the engine.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Base image")]
pub struct BaseArgs {
    /// The ENTRYPOINT of the base image: a JSON array, or one word
    #[arg(long, value_name = "JSON", conflicts_with = "base_config")]
    pub entrypoint: Option<String>,

    /// The CMD of the base image: a JSON array, or one word
    #[arg(long, value_name = "JSON", conflicts_with = "base_config")]
    pub cmd: Option<String>,

    /// What `docker image inspect BASE` prints, in a file
    #[arg(long, value_name = "FILE")]
    pub base_config: Option<PathBuf>,
}

/// Which disco gets into the image.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "disco")]
pub struct DiscoArgs {
    /// The static disco to put into the image; else CAKE_DISCO [default: the one that belongs to cake]
    #[arg(long, value_name = "FILE")]
    pub disco: Option<PathBuf>,

    /// Take /usr/bin/disco from this image, best named by digest
    #[arg(long, value_name = "IMAGE")]
    pub from_image: Option<String>,
}

/// How the image is built.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Builder")]
pub struct BuilderArgs {
    /// The name of the image; may be given more than once
    #[arg(
        short,
        long = "tag",
        value_name = "NAME",
        default_value = "layercake/disco"
    )]
    pub tags: Vec<String>,

    /// docker, buildx, podman or buildah; else CAKE_BUILDER [default: the first that answers of
    /// docker, podman, buildah]
    #[arg(long = "builder", value_name = "BUILDER")]
    pub kind: Option<String>,

    /// A build argument, NAME=VALUE; may be given more than once
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    pub build_args: Vec<String>,

    /// The platform to build for, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// Further words for the builder, as they are
    #[arg(last = true, value_name = "BUILDER ARGUMENTS")]
    pub rest: Vec<OsString>,
}

/// `cake wrap`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cake wrap nginx:1.27 -t my-nginx --layer nginx")]
pub struct WrapArgs {
    /// The image to wrap
    #[arg(value_name = "IMAGE")]
    pub image: String,

    /// The file that names the layers; without it, cake.conf if there is one
    #[arg(value_name = "CONFIG")]
    pub config: Option<PathBuf>,

    /// The directory of cake.conf, asyncy.yml and cake.lock
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub context: PathBuf,

    /// Print the Dockerfile that it comes down to, and build nothing
    #[arg(short, long)]
    pub no_build: bool,

    /// What else goes into the block.
    #[command(flatten)]
    pub block: BlockArgs,

    /// What concerns layers.
    #[command(flatten)]
    pub source: SourceArgs,

    /// What concerns disco.
    #[command(flatten)]
    pub disco: DiscoArgs,

    /// What concerns the builder.
    #[command(flatten)]
    pub builder: BuilderArgs,
}

/// `cake unbake`.
#[derive(Debug, Args)]
pub struct UnbakeArgs {
    /// The Dockerfile
    #[arg(
        short = 'd',
        long,
        short_alias = 'f',
        alias = "file",
        value_name = "FILE",
        default_value = "Dockerfile"
    )]
    pub dockerfile: PathBuf,

    /// Write it here and leave the original alone; `-` prints it
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}
