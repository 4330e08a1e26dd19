//! cake described for shells and for man(1), from its own command line.

use std::path::Path;

use clap::{Command, CommandFactory as _};

use super::cli::{Cake, CompletionsArgs, ManArgs};
use super::failure::Failure;
use super::files;
use super::ui::Ui;
use crate::contract::problem::Problem;

/// `cake completions`.
pub(super) fn completions(args: &CompletionsArgs, ui: &Ui) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cake::command(), "cake", &mut script);
    ui.result(&script);
}

/// `cake man`: a page for cake and for each verb.
///
/// # Errors
/// A page cannot be written.
pub(super) fn man(args: &ManArgs, ui: &Ui) -> Result<(), Failure> {
    let mut cake = Cake::command();
    cake.build();
    let verbs = cake
        .get_subcommands()
        .filter(|verb| verb.get_name() != "help");
    for command in std::iter::once(&cake).chain(verbs) {
        page(command, &args.directory).map_err(|error| {
            let message = format!("cannot write the man pages: {error}");
            Failure::failed(Problem::new(message).in_file(&args.directory))
        })?;
    }
    ui.note(
        "Wrote",
        &format!("man pages into {}", args.directory.display()),
    );
    Ok(())
}

fn page(command: &Command, directory: &Path) -> std::io::Result<()> {
    // `cake build` is the page cake-build(1).
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let mut page = Vec::new();
    // `help` has no page, and what follows the options is titled by what it is.
    let bare = command
        .clone()
        .name(name.clone())
        .disable_help_subcommand(true);
    clap_mangen::Man::new(bare).render(&mut page)?;
    let page = String::from_utf8_lossy(&page);
    let title = match page.contains("Exit codes:") {
        true => ".SH \"EXIT STATUS\"",
        false => ".SH EXAMPLES",
    };
    let page = page.replace(".SH EXTRA", title);
    files::write(&directory.join(format!("{name}.1")), page.as_bytes(), 0o644).map(|_| ())
}
