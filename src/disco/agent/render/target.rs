//! Where a rendered file goes, what is there, and what it is to be like. Writes nothing.

use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;

use nix::unistd::{getegid, geteuid};

use super::place::Place;
use crate::contract::account::Accounts;
use crate::contract::render::Output;

/// The permission bits, without the kind of file.
pub(super) const BITS: u32 = 0o7777;

/// A file that is to be.
pub(super) struct Target {
    /// Where.
    pub(super) place: Place,
    /// Its permission bits.
    pub(super) mode: u32,
    /// Whom it is to belong to; `None` is whoever writes it.
    pub(super) owner: Option<Owner>,
    /// Whether what is there is kept.
    pub(super) backup: bool,
    /// Whether it is a secret.
    pub(super) secret: bool,
    /// What is there.
    pub(super) present: Option<Metadata>,
}

/// Whom a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether the rule says so: else it only stays as it is, where that can be.
    pub(super) is_asked: bool,
}

impl Target {
    /// Finds it out. With `has_root`, where a directory stands for the root, nobody but disco itself is to
    /// own anything: its accounts are not those of this system.
    ///
    /// # Errors
    /// Why there can be no such file.
    pub(super) fn find(
        output: &Output,
        place: Place,
        has_root: bool,
        accounts: &Accounts,
    ) -> Result<Self, String> {
        let told = |what: &str| format!("{} {what}", output.to.display());
        // Whatever is wrong with it shows when it is written.
        let about = |place: &Place| place.dir()?.about(&place.name).ok();
        let present = match about(&place) {
            Some(meta) if !meta.is_file() => {
                return Err(told("is no regular file, and cannot be replaced"));
            }
            present => present,
        };
        let owner = match (&output.owner, &present) {
            (Some(spec), _) if !has_root => {
                let who = accounts.find(spec);
                let who =
                    who.map_err(|unknown| told(&format!("has an `owner` in vain: {unknown}")))?;
                Some(Owner {
                    uid: who.uid,
                    gid: who.gid,
                    is_asked: true,
                })
            }
            // Whoever could have made the file before must not get to read it.
            (_, Some(_)) if output.secret => Some(Owner {
                uid: geteuid().as_raw(),
                gid: getegid().as_raw(),
                is_asked: false,
            }),
            (_, Some(present)) if !has_root => Some(Owner {
                uid: present.uid(),
                gid: present.gid(),
                is_asked: false,
            }),
            _ => None,
        };
        Ok(Self {
            mode: output.mode_over(present.as_ref().map(|present| present.mode() & BITS)),
            place,
            owner,
            backup: output.backup,
            secret: output.secret,
            present,
        })
    }

    /// Whether what is there has this content, and mode and owner as they should be.
    pub(super) fn is(&self, content: &[u8]) -> bool {
        let Some(present) = &self.present else {
            return false;
        };
        let is_owned = self
            .owner
            .is_none_or(|owner| (owner.uid, owner.gid) == (present.uid(), present.gid()));
        let is_size = usize::try_from(present.len()) == Ok(content.len());
        let is_mode = present.mode() & BITS == self.mode;
        is_mode && is_owned && is_size && holds(&self.place, content)
    }
}

/// Whether a file holds this and nothing else. One that cannot be read does not.
fn holds(place: &Place, content: &[u8]) -> bool {
    let Some(Ok(file)) = place.dir().map(|dir| dir.open(&place.name)) else {
        return false;
    };
    let limit = u64::try_from(content.len()).unwrap_or(u64::MAX);
    let mut bytes = Vec::with_capacity(content.len());
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.is_ok() && bytes == content
}
