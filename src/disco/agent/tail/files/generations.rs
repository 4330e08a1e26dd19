//! Finds older generations and copies of a file by their names, times and beginnings, where no event
//! told of them.
//!
//! Looks only where events do not do: what they tell is [`settle`](super::settle)'s. What is being read
//! already is not found again.

use std::collections::{HashSet, VecDeque};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::gather::Sighting;
use super::part::{Head, Id, Part};
use super::{Files, names, part};

impl Files {
    /// Begins to follow files that had a name while nobody told of it, by their names and times, and
    /// returns the one that has it after them.
    pub(super) fn between(&mut self, index: usize, place: &Path) -> Option<(File, Metadata)> {
        let name = self.names.get(&index)?;
        let newest = name.newest;
        let spent = name.spent.map(|spent| spent.inode);
        let known = self.known(index);
        let heads: Vec<_> = self.parts(index).map(|part| part.head).collect();
        let (directory, of) = place.parent().zip(place.file_name())?;
        // All at the same moment: what is opened later may have been followed by others already.
        let mut files = self.gather(
            directory,
            |name| name == of || names::is_generation(name, of),
            |path, about| path == place || part::written(about) >= newest,
        );
        let present = files.iter().position(|file| file.path == place);
        let present = present.map(|at| files.swap_remove(at));
        files.retain(|Sighting { file, about, .. }| {
            let is_copy = heads
                .iter()
                .any(|head| !head.is_empty() && head.is_of(file));
            Some(about.ino()) != spent && !is_copy && !known.contains(&Id::of(about))
        });
        files.sort_by_cached_key(|file| file.age(of));
        for Sighting { file, about, .. } in files {
            let at = self.end_of(index);
            self.begin_rotated(index, at, [Part::new(file, &about)].into());
        }
        present.map(|present| (present.file, present.about))
    }

    /// The copies that were made of a file before it was truncated, oldest first: the one of what was
    /// being read, then those of what came and went since. `own` is the file itself, if there is one.
    pub(super) fn copies(
        &mut self,
        name: usize,
        offset: u64,
        head: Head,
        own: Option<&Metadata>,
    ) -> VecDeque<Part> {
        let mut copies = VecDeque::new();
        let place = self.names.get(&name).and_then(|name| name.place.clone());
        let (Some(place), false) = (place, head.is_empty()) else {
            return copies;
        };
        let Some((directory, of)) = place.parent().zip(place.file_name()) else {
            return copies;
        };
        let known = self.known(name);
        let id = own.map(Id::of);
        let mut kin = self.gather(
            directory,
            |name| name == of || names::is_kin(name, of),
            |_, about| id == Some(Id::of(about)) || !known.contains(&Id::of(about)),
        );
        let at = kin.iter().position(|file| Some(Id::of(&file.about)) == id);
        let own_path = at.map(|at| kin.swap_remove(at).path);
        kin.retain(|file| file.path != place);
        kin.sort_by_cached_key(|file| file.age(of));
        let is_it = |of: &Sighting| of.about.len() >= offset && head.is_of(&of.file);
        let Some(index) = kin.iter().rposition(is_it) else {
            return copies;
        };
        let number = |path: &Path| path.file_name().and_then(|name| names::number(name, of));
        // Generations that had the name after this file, which has lost it, are no copies of it.
        let is_older = |file: &Sighting| match (number(&file.path), own_path.as_deref()) {
            (_, Some(own)) if own == place => true,
            (Some(a), Some(own)) if let Some(b) = number(own) => a > b,
            _ => own.is_none_or(|own| part::written(&file.about) <= part::written(own)),
        };
        for found in kin.drain(index..) {
            let name = found.path.file_name().unwrap_or_default();
            if copies.is_empty() {
                copies.push_back(Part::resumed(found.file, &found.about, offset, head));
            } else if names::is_generation(name, of) && is_older(&found) {
                copies.push_back(Part::new(found.file, &found.about));
            }
        }
        copies
    }

    /// All files that are being read under a name or any other.
    fn known(&self, name: usize) -> HashSet<Id> {
        let own = self.parts(name).map(|part| part.id);
        self.ids.keys().copied().chain(own).collect()
    }

    /// What is being read under a name.
    fn parts(&self, name: usize) -> impl Iterator<Item = &Part> {
        let streams = self.names.get(&name).map(|name| name.streams.iter());
        let streams = streams.into_iter().flatten();
        let streams = streams.filter_map(|stream| self.streams.get(stream));
        streams.flat_map(|stream| stream.parts.iter())
    }
}
