//! The command line of cake: what there is to say, and how it is described. It does nothing of it.

mod build;
mod layers;
mod project;

pub use build::{BaseArgs, BlockArgs, BuildArgs, BuilderArgs, DiscoArgs, UnbakeArgs, WrapArgs};
pub use layers::{IndexArgs, LayerArgs, NetArgs, SearchArgs, SearchFormat, SourceArgs};
pub use project::{
    CompletionsArgs, LintArgs, LockArgs, ManArgs, NewLayerArgs, ShowArgs, TestArgs, UpdateArgs,
};

use clap::{Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   not done: a build failed, something is missing or out of reach, a check found a difference
  64  the command line is wrong
  78  a Dockerfile, layer, contract or other file is wrong

In a project cake writes cake.lock, the directory .cake and a marked block
of the Dockerfile; `cake unbake` takes the block away again.";

/// Bake a container's contract, its layers and disco into an image
///
/// `cake build` in the directory of a Dockerfile adds a block to it that copies disco and the layers of
/// cake.conf into the image and puts disco before what the image runs, and then builds the image.
#[derive(Debug, Parser)]
#[command(name = "cake", version, after_help = EXIT_CODES, max_term_width = 100, disable_help_subcommand = false)]
pub struct Cake {
    /// How much to say
    #[arg(
        short,
        long,
        global = true,
        value_name = "LEVEL",
        default_value = "info",
        help_heading = "Output",
        ignore_case = true
    )]
    pub log_level: Level,

    /// How to show what is under way: spinners, lines, a JSON object a line, or nothing
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub progress: Progress,

    /// Results as JSON on stdout, progress as JSON on stderr
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,

    /// What to do; without it, this help
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// From what on cake speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Also which places were searched and which programs were run.
    Debug,
    /// What is done.
    Info,
    /// What is odd.
    #[value(alias = "warn")]
    Warning,
    /// What failed.
    #[value(alias = "critical")]
    Error,
}

/// The looks of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Spinners on a terminal, lines elsewhere.
    Auto,
    /// A line for each thing.
    Plain,
    /// A JSON object a line.
    Json,
    /// Nothing but warnings and errors.
    Quiet,
}

/// What cake can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Edit the Dockerfile, gather layers and disco, and build the image
    #[command(visible_alias = "bake")]
    Build(Box<BuildArgs>),
    /// Put disco and layers into an image that is built already
    Wrap(Box<WrapArgs>),
    /// Take cake's block out of a Dockerfile
    Unbake(UnbakeArgs),
    /// Fetch layers and what they depend on into a directory
    Layer(LayerArgs),
    /// Search the index for layers
    Search(SearchArgs),
    /// Show what a layer gives, from which keys, with its example
    Show(ShowArgs),
    /// Check layers, rules, schemas, handlers and the contract
    Lint(LintArgs),
    /// Try layers on their example data and compare with what is expected
    Test(TestArgs),
    /// Begin a layer that works and can be changed
    NewLayer(NewLayerArgs),
    /// Resolve the layers and write cake.lock
    Lock(LockArgs),
    /// Move layers to the newest commits and write cake.lock
    Update(UpdateArgs),
    /// Copy the layers into .cake/layers, so that no network is needed
    Vendor(LockArgs),
    /// Make a directory of layers an index that any web server can serve
    Index(IndexArgs),
    /// Print the completions for a shell
    Completions(CompletionsArgs),
    /// Write the man pages
    Man(ManArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_description_is_sound_and_every_option_is_described() {
        let mut command = Cake::command();
        command.build();
        command.clone().debug_assert();
        for verb in command.get_subcommands() {
            for argument in verb.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{}: {}",
                    verb.get_name(),
                    argument.get_id()
                );
            }
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
        }
    }

    #[test]
    fn c1_the_level_is_read_in_any_case_and_info_by_default() {
        let level = |words: &[&str]| Cake::try_parse_from(words).unwrap().log_level;
        assert_eq!(level(&["cake"]), Level::Info);
        assert_eq!(level(&["cake", "-l", "DEBUG"]), Level::Debug);
        assert_eq!(
            level(&["cake", "search", "x", "--log-level=WARNING"]),
            Level::Warning
        );
    }

    #[test]
    fn c4_bake_is_build() {
        let parsed =
            Cake::try_parse_from(["cake", "bake", "-n", "my.conf", "--", "--no-cache"]).unwrap();
        let Some(Verb::Build(build)) = parsed.verb else {
            panic!("no build")
        };
        assert!(build.no_build);
        assert_eq!(
            build.config.as_deref(),
            Some(std::path::Path::new("my.conf"))
        );
        assert_eq!(build.builder.rest, ["--no-cache"]);
    }
}
