//! What base images are like: as the command line says, as a file says, as the builder knows, or as the
//! registry does once the image has been fetched.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use super::builder::{Builder, Kind};
use super::child::End;
use super::cli::BaseArgs;
use super::failure::Failure;
use super::files;
use super::ui::Ui;
use crate::contract::dockerfile::{Bases, ImageConfig};
use crate::contract::problem::Problem;

/// Whoever knows base images, each asked for once.
pub(super) struct Known<'a> {
    ui: &'a Ui,
    kind: Option<Kind>,
    /// Whether an image may be fetched that is not here.
    pulls: bool,
    file: Option<ImageConfig>,
    builder: OnceCell<Result<Builder, String>>,
    asked: RefCell<BTreeMap<String, Answer>>,
    /// The platform of the image asked for last.
    platform: RefCell<Option<String>>,
}

type Answer = Result<Option<ImageConfig>, String>;

impl<'a> Known<'a> {
    /// Knows what the command line says. The builder is asked only when it comes to that.
    ///
    /// # Errors
    /// A file that says nothing of an image.
    pub(super) fn new(
        args: &BaseArgs,
        kind: Option<Kind>,
        pulls: bool,
        ui: &'a Ui,
    ) -> Result<Self, Failure> {
        let file = args.base_config.as_deref().map(read).transpose();
        Ok(Self {
            ui,
            kind,
            pulls,
            file: file.map_err(|problem| Failure::config(vec![problem]))?,
            builder: OnceCell::new(),
            asked: RefCell::default(),
            platform: RefCell::default(),
        })
    }

    /// The builder, found once.
    pub(super) fn builder(&self) -> Result<&Builder, String> {
        let find = || {
            Builder::find(self.kind).map_err(|failure| {
                let told: Vec<_> = failure.problems.iter().map(|p| p.message.clone()).collect();
                told.join("; ")
            })
        };
        self.builder
            .get_or_init(find)
            .as_ref()
            .map_err(Clone::clone)
    }

    /// The platform that is built for: the one that was said, else that of the base image as far as it
    /// is known, else that of the builder, if there is to be one.
    pub(super) fn platform(&self, said: Option<&str>, builder: Option<&Builder>) -> Option<String> {
        said.map(str::to_owned)
            .or_else(|| self.platform.borrow().clone())
            .or_else(|| builder.and_then(Builder::platform).map(str::to_owned))
    }

    fn note_platform(&self, platform: Option<&str>, answer: &Answer) {
        let config = answer.as_ref().ok().and_then(Option::as_ref);
        let found = config.and_then(|config| config.architecture.clone());
        *self.platform.borrow_mut() = platform.map(str::to_owned).or(found);
    }

    fn ask(&self, image: &str, platform: Option<&str>) -> Answer {
        let builder = self.builder()?;
        let mut found = builder.inspect(image)?;
        if found.is_none() && self.pulls {
            self.ui
                .note("Fetching", &format!("{image}, to see what it runs"));
            builder
                .pull(image, platform, self.ui)
                .map_err(|end| match end {
                    End::Failed(reason) => format!("{} cannot fetch it: {reason}", builder.name()),
                    End::Ended(signal) => format!("ended by {}", signal.as_str()),
                })?;
            found = builder.inspect(image)?;
        }
        self.ui.detail(
            "Inspected",
            &format!(
                "{image} by {}: {}",
                builder.name(),
                match found {
                    Some(_) => "known",
                    None => "not there",
                }
            ),
        );
        let told = found.map(|told| ImageConfig::parse(Path::new(image), &told));
        told.transpose().map_err(|problem| problem.message)
    }
}

impl Bases for Known<'_> {
    fn config(&self, image: &str, platform: Option<&str>) -> Answer {
        if let Some(config) = &self.file {
            let answer = Ok(Some(config.clone()));
            self.note_platform(platform, &answer);
            return answer;
        }
        if let Some(answer) = self.asked.borrow().get(image) {
            self.note_platform(platform, answer);
            return answer.clone();
        }
        let answer = self.ask(image, platform);
        self.note_platform(platform, &answer);
        self.asked
            .borrow_mut()
            .insert(image.to_owned(), answer.clone());
        answer
    }
}

fn read(path: &Path) -> Result<ImageConfig, Problem> {
    let bytes = files::read_small(path)
        .map_err(|error| Problem::new(format!("cannot be read: {error}")).in_file(path))?;
    ImageConfig::parse(path, &bytes)
}
