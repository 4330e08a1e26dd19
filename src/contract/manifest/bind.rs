//! Holds the words that a container is called with to its declared commands (asyncy ): finds
//! the command, binds and checks arguments, and lays them out for the program. All problems at once;
//! nothing is run, split or given to a shell.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::command::{Additional, Command, Commands, ENTRYPOINT, Item, fold};
use super::format::Layout;
use super::shape::Place;
use crate::contract::suggest;
use crate::contract::text::count;

/// What a call comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Call<'a> {
    /// It is good; the command that it selects, and the words for the program.
    Run(&'a Command, Vec<OsString>),
    /// It asks how the command is to be used, or, without one, the container.
    Help(Option<&'a Command>),
    /// It is wrong in every one of these ways.
    Wrong(Option<&'a Command>, Vec<String>),
}

/// What is known of the image apart from the words.
pub struct Image<'a> {
    /// How many words come from the image's ENTRYPOINT, where that is known; these are the program
    /// and its first arguments, and nothing that a caller has written.
    pub prefix: Option<usize>,
    /// Whether a word can be executed as a program.
    pub is_program: &'a dyn Fn(&OsStr) -> bool,
    /// Whether a word names a file, as `app.py` in `python app.py` does.
    pub is_file: &'a dyn Fn(&OsStr) -> bool,
    /// Where paths among the arguments are looked up.
    pub place: &'a Place<'a>,
}

impl Commands {
    /// Binds the words of a container: those of its ENTRYPOINT and those that it is called with. The
    /// first of the latter selects the command, and goes on to the program, unless it selects
    /// the entrypoint by being no command at all.
    #[must_use]
    pub fn bind<'a>(&'a self, words: &'a [OsString], image: &Image<'a>) -> Call<'a> {
        let start = match image.prefix {
            Some(prefix) => prefix.min(words.len()),
            None => self.guess_prefix(words, image),
        };
        let (program, rest) = words.split_at(start);
        let named = rest.first().and_then(|word| self.get(word.to_str()?));
        if let (Some(command), Some((name, arguments))) = (named, rest.split_first()) {
            let program = program.iter().chain([name]).cloned().collect();
            return command.bind(program, arguments, image.place);
        }
        if rest.first().is_some_and(|word| word == "--help") {
            return Call::Help(None);
        }
        if let Some(entrypoint) = &self.entrypoint
            && !words.is_empty()
        {
            // The program itself is the image's, wherever its name comes from.
            let start = image.prefix.unwrap_or(1).clamp(1, words.len());
            let (program, arguments) = words.split_at(start);
            return entrypoint.bind(program.to_vec(), arguments, image.place);
        }
        Call::Wrong(None, vec![self.unknown(program, rest.first())])
    }

    /// Where the words of the caller begin if nobody knows: at the first that names a command. Those
    /// before it can be the image's only if they look like a program and what belongs to it.
    fn guess_prefix(&self, words: &[OsString], image: &Image<'_>) -> usize {
        let belongs = |(index, word): (usize, &OsString)| {
            let is_command = word.to_str().is_some_and(|word| self.get(word).is_some());
            // A program, and at most the script that it is an interpreter of: whatever else comes
            // before a command may be a caller's, and is not to get by unchecked.
            let may_belong = match index {
                0 => word.as_bytes().contains(&b'/') || (image.is_program)(word),
                1 => (image.is_file)(word),
                _ => false,
            };
            may_belong && !is_command && word != "--help"
        };
        let end = words.iter().enumerate().position(|word| !belongs(word));
        end.unwrap_or(words.len())
    }

    fn unknown(&self, program: &[OsString], word: Option<&OsString>) -> String {
        let names = || self.named.iter().map(|command| command.name.as_str());
        let list = names().collect::<Vec<_>>().join(", ");
        let first = program.first().map(|word| word.to_string_lossy());
        let word = word.map(|word| word.to_string_lossy());
        let hint = suggest::hint(word.as_deref().unwrap_or_default(), names());
        if names().next().is_none() {
            return "no program given; expected the one that the contract's entrypoint is for"
                .to_owned();
        }
        let what = match (first, word) {
            (None, None) => "no command given".to_owned(),
            (Some(first), None) => format!("no command given after `{first}`"),
            (None, Some(word)) => format!("`{word}` is no command of this container"),
            (Some(first), Some(word)) => {
                format!("neither `{first}` nor `{word}` is a command of this container")
            }
        };
        format!("{what}; expected one of {list}{hint}")
    }
}

/// A call as it is taken apart.
struct Binding<'a> {
    command: &'a Command,
    place: &'a Place<'a>,
    positional: Vec<&'a OsStr>,
    /// In the order of the call; the declared one where it is one.
    keyword: Vec<(Option<&'a Item>, OsString, Option<OsString>)>,
    problems: Vec<String>,
    /// Declared options with which something is wrong already.
    refused: Vec<&'a str>,
    /// How many options are none of the command's.
    unknown: usize,
    wants_help: bool,
}

impl Command {
    /// Binds the words after the one that selects the command; `program` is what goes before them.
    fn bind<'a>(
        &'a self,
        program: Vec<OsString>,
        words: &'a [OsString],
        place: &'a Place<'a>,
    ) -> Call<'a> {
        let mut binding = Binding {
            command: self,
            place,
            positional: Vec::new(),
            keyword: Vec::new(),
            problems: Vec::new(),
            refused: Vec::new(),
            unknown: 0,
            wants_help: false,
        };
        binding.take(words);
        if binding.wants_help {
            return Call::Help(Some(self).filter(|command| !command.name.is_empty()));
        }
        binding.check();
        let words = binding.lay_out();
        if binding.problems.is_empty() {
            Call::Run(self, [program, words].concat())
        } else {
            Call::Wrong(Some(self), binding.problems)
        }
    }

    fn kwarg(&self, name: &OsStr) -> Option<&Item> {
        let name = fold(name.to_str()?);
        self.kwargs.iter().find(|item| fold(&item.name) == name)
    }
}

impl<'a> Binding<'a> {
    /// Takes the words apart: `--name value`, `--name=value`, flags, `--`, and all others by place.
    fn take(&mut self, words: &'a [OsString]) {
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            let Some(option) = word.as_bytes().strip_prefix(b"--") else {
                self.positional.push(word);
                continue;
            };
            if option.is_empty() {
                self.positional.extend(words.map(OsString::as_os_str));
                return;
            }
            let mut parts = option.splitn(2, |byte| *byte == b'=');
            let name = OsStr::from_bytes(parts.next().unwrap_or_default());
            let joined = parts.next().map(|value| OsString::from_vec(value.to_vec()));
            let item = self.command.kwarg(name);
            if item.is_none() && name == "help" && joined.is_none() {
                self.wants_help = true;
                continue;
            }
            if item.is_none() && self.command.additional_kwargs == Additional::None {
                let known = self.command.kwargs.iter().map(|item| item.name.as_str());
                let shown = name.to_string_lossy();
                let hint = suggest::nearest(&shown, known);
                let hint = hint.map(|name| format!("; did you mean `--{name}`?"));
                let hint = hint.unwrap_or_default();
                self.problems
                    .push(format!("unknown option `--{shown}`{hint}"));
                self.unknown += 1;
                continue;
            }
            let next = words.peek().map(|word| word.as_os_str());
            let is_option = |word: &OsStr| word.as_bytes().starts_with(b"--");
            let is_word = next.is_some_and(|word| !is_option(word));
            let takes_next = match item {
                _ if joined.is_some() => false,
                // Alone it is a flag; what follows is its value only if it can be one.
                Some(item) if item.shape.is_boolean() => {
                    let fits = |word| item.shape.check(word, self.place).is_ok();
                    is_word && next.is_some_and(fits)
                }
                Some(item) if !is_word => {
                    self.refused.push(&item.name);
                    self.problems.push(format!(
                        "option `--{}` needs a value{}",
                        item.name,
                        expected(item)
                    ));
                    continue;
                }
                _ => is_word,
            };
            let value = match takes_next {
                true => words.next().cloned(),
                false => joined,
            };
            // A declared name is passed on as it was declared, whichever of `-` and `_` was used.
            let name = item.map_or_else(|| name.to_owned(), |item| item.name.clone().into());
            if item.is_some() && self.keyword.iter().any(|(_, other, _)| *other == name) {
                let name = name.to_string_lossy();
                self.problems
                    .push(format!("option `--{name}` is given twice"));
                continue;
            }
            self.keyword.push((item, name, value));
        }
    }

    fn check(&mut self) {
        let (command, place) = (self.command, self.place);
        let mut problems = Vec::new();
        for (index, item) in command.args.iter().enumerate() {
            match self.positional.get(index) {
                Some(value) => {
                    if let Err(expected) = item.shape.check(value, place) {
                        problems.push(format!("argument `{}` {expected}", item.name));
                    }
                }
                None if item.required => problems.push(format!(
                    "argument `{}` is missing{}",
                    item.name,
                    expected(item)
                )),
                None => {}
            }
        }
        let extra = self
            .positional
            .get(command.args.len()..)
            .unwrap_or_default();
        match &command.additional_args {
            _ if extra.is_empty() => {}
            Additional::Any if command.layout.takes_args() => {}
            // An unknown option before them may have been meant to take as many.
            Additional::None | Additional::Any if extra.len() <= self.unknown => {}
            Additional::None | Additional::Any => problems.push(self.too_many()),
            Additional::Each(_) if !command.layout.takes_args() => problems.push(self.too_many()),
            Additional::Each(shape) => {
                for (index, value) in extra.iter().enumerate() {
                    if let Err(expected) = shape.check(value, place) {
                        let number = command.args.len() + index + 1;
                        problems.push(format!("argument {number} {expected}"));
                    }
                }
            }
        }
        for (item, name, value) in &self.keyword {
            let shape = match (item, &command.additional_kwargs) {
                (Some(item), _) => Some(&item.shape),
                (None, Additional::Each(shape)) => Some(shape),
                (None, _) => None,
            };
            let flag = OsString::from("true");
            let value = value.as_ref().unwrap_or(&flag);
            if let Some(Err(expected)) = shape.map(|shape| shape.check(value, place)) {
                problems.push(format!("option `--{}` {expected}", name.to_string_lossy()));
            }
        }
        for item in command.kwargs.iter().filter(|item| item.required) {
            let is_given = |(given, ..): &(Option<&Item>, OsString, Option<OsString>)| {
                given.is_some_and(|given| given.name == item.name)
            };
            let was_refused = self.refused.contains(&item.name.as_str());
            if !self.keyword.iter().any(is_given) && !was_refused {
                problems.push(format!(
                    "option `--{}` is missing{}",
                    item.name,
                    expected(item)
                ));
            }
        }
        self.problems.extend(problems);
    }

    fn too_many(&self) -> String {
        format!(
            "too many arguments: {} given, at most {} taken",
            self.positional.len(),
            self.command.args.len()
        )
    }

    /// The words for the program, and a problem for each value that has no place among them.
    fn lay_out(&mut self) -> Vec<OsString> {
        let command = self.command;
        let layout = &command.layout;
        let is_named = |name: &str| layout.names().any(|named| named == name);
        let mut values: Vec<(&str, &OsStr)> = Vec::new();
        let mut args = Vec::new();
        // A default can stand by its place only as long as nothing before it is left out.
        let mut has_gap = false;
        for (index, item) in command.args.iter().enumerate() {
            let given = self.positional.get(index).copied();
            let value = given.or(item.default.as_deref().map(OsStr::new));
            match value {
                Some(value) if is_named(&item.name) => values.push((&item.name, value)),
                Some(value) if layout.takes_args() => {
                    if !has_gap {
                        args.push(value.to_owned());
                    }
                }
                Some(_) if given.is_some() => self.problems.push(format!(
                    "argument `{}` cannot be given: the `format` of the command has no place for it",
                    item.name
                )),
                Some(_) => {}
                None => has_gap |= !is_named(&item.name),
            }
        }
        let extra = self
            .positional
            .get(command.args.len()..)
            .unwrap_or_default();
        args.extend(extra.iter().map(|&value| value.to_owned()));
        let flag = OsStr::new("true");
        let mut kwargs = Vec::new();
        for (item, name, value) in &self.keyword {
            let is_flag = item.is_none_or(|item| item.shape.is_boolean());
            let word = value.as_deref().unwrap_or(flag);
            if let Some(item) = item.filter(|item| is_named(&item.name)) {
                values.push((&item.name, word));
            } else if !layout.takes_kwargs() {
                self.problems.push(format!(
                    "option `--{}` cannot be given: the `format` of the command has no place for it",
                    name.to_string_lossy()
                ));
            } else if item.is_some() && is_flag && word == "false" {
                // What is not wanted is not said.
            } else {
                kwargs.push(option(name));
                let is_bare = value.is_none() || item.is_some() && is_flag && word == "true";
                kwargs.extend((!is_bare).then(|| word.to_owned()));
            }
        }
        let absent = command.kwargs.iter().filter(|item| {
            let mut given = self.keyword.iter().filter_map(|(given, ..)| *given);
            !given.any(|given| given.name == item.name)
        });
        for item in absent {
            let Some(default) = &item.default else {
                continue;
            };
            match default.as_str() {
                _ if is_named(&item.name) => values.push((&item.name, OsStr::new(default))),
                _ if !layout.takes_kwargs() => {}
                "false" if item.shape.is_boolean() => {}
                "true" if item.shape.is_boolean() => kwargs.push(option(OsStr::new(&item.name))),
                default => kwargs.extend([option(OsStr::new(&item.name)), default.into()]),
            }
        }
        let value = |name: &str| {
            let found = values.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| *value)
        };
        // What came after `--` must not look like an option to the program, either.
        let is_option = |word: &OsString| word.as_bytes().starts_with(b"--");
        let Some(first) = args.iter().position(is_option) else {
            return layout.fill(value, &args, &kwargs);
        };
        args.insert(first, "--".into());
        match *layout == Layout::default() {
            true => [kwargs, args].concat(),
            false => layout.fill(value, &args, &kwargs),
        }
    }
}

fn option(name: &OsStr) -> OsString {
    let mut word = OsString::from("--");
    word.push(name);
    word
}

/// What a value should have been, and what it is for.
fn expected(item: &Item) -> String {
    let mut text = match item.shape.describe().as_str() {
        "" => String::new(),
        shape => format!("; expected {shape}"),
    };
    if let Some(help) = &item.help {
        text.push_str(": ");
        text.push_str(&help.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    text
}

/// The words of `disco.entrypoint`, or how many there are, to the number that a container's words
/// begin with.
///
/// # Errors
/// Where the container does not begin with them.
pub fn prefix(entrypoint: &[String], words: &[OsString]) -> Result<usize, String> {
    if let [number] = entrypoint
        && let Ok(number) = number.parse::<usize>()
    {
        return match number <= words.len() {
            true => Ok(number),
            false => Err(format!(
                "is {}, and this container begins with {}; expected how many words of the image's {} come after disco",
                count(number, "word"),
                words.len(),
                ENTRYPOINT.to_uppercase()
            )),
        };
    }
    let begins = entrypoint.len() <= words.len()
        && entrypoint
            .iter()
            .zip(words)
            .all(|(own, word)| word == own.as_str());
    match begins {
        true => Ok(entrypoint.len()),
        false => Err(format!(
            "is {} that this container does not begin with; expected the words of the image's {} after disco",
            count(entrypoint.len(), "word"),
            ENTRYPOINT.to_uppercase()
        )),
    }
}
