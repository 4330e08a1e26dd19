//! The disco that is put into images: where it is found, and whether it would run there.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::contract::elf::Elf;
use crate::contract::hash;
use crate::contract::problem::Problem;

/// How a static disco is had.
const REMEDY: &str = "build one with `cargo build --profile dist --no-default-features --bin disco --target x86_64-unknown-linux-musl`, and name it with --disco or CAKE_DISCO";

/// The disco that this cake carries, if it was built with `embed-disco`.
#[cfg(feature = "embed-disco")]
const EMBEDDED: Option<&[u8]> = Some(include_bytes!(env!("DISCO_DIST")));
#[cfg(not(feature = "embed-disco"))]
const EMBEDDED: Option<&[u8]> = None;

/// A static disco.
#[derive(Debug, Clone)]
pub struct Disco {
    /// The program.
    pub bytes: Vec<u8>,
    /// How it is named to the user.
    pub place: String,
    /// The architecture, as Docker names it.
    pub machine: String,
}

impl Disco {
    /// Finds one: `named` (`--disco` or `CAKE_DISCO`), else the one that cake carries, else the program
    /// `disco` beside cake itself, or the static one that cargo has built beside it.
    ///
    /// # Errors
    /// None is there, or it is not static.
    pub fn find(named: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = named {
            return Self::read(path).map_err(Failure::failed);
        }
        if let Some(bytes) = EMBEDDED {
            let disco = Self::checked(bytes.to_vec(), "the one inside cake".to_owned());
            return disco.map_err(Failure::failed);
        }
        let mut unfit = None;
        for path in beside() {
            if !path.is_file() {
                continue;
            }
            match Self::read(&path) {
                Ok(disco) => return Ok(disco),
                Err(problem) => unfit = unfit.or(Some(problem)),
            }
        }
        Err(Failure::failed(unfit.unwrap_or_else(|| {
            Problem::new(format!("there is no disco to put into images; {REMEDY}"))
        })))
    }

    fn read(path: &Path) -> Result<Self, Problem> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| {
                Problem::new(format!("cannot read disco: {error}; {REMEDY}")).in_file(path)
            })?;
        Self::checked(bytes, path.display().to_string()).map_err(|problem| problem.in_file(path))
    }

    fn checked(bytes: Vec<u8>, place: String) -> Result<Self, Problem> {
        let Some(elf) = Elf::parse(&bytes) else {
            return Err(Problem::new(format!("is no program of Linux; {REMEDY}")));
        };
        if let Some(loader) = elf.loader {
            return Err(Problem::new(format!(
                "is not static: it needs {loader}, which an image need not have; {REMEDY}"
            )));
        }
        Ok(Self {
            bytes,
            place,
            machine: elf.machine,
        })
    }

    /// Its digest, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        hash::sha256(&self.bytes)
    }

    /// Holds it to the platform that is built for, `linux/arm64/v8` or an architecture alone.
    ///
    /// # Errors
    /// It is for another one.
    pub fn suits(&self, platform: &str) -> Result<(), Failure> {
        let mut parts = platform.split('/');
        let wanted = match (parts.next(), parts.next()) {
            (_, Some(architecture)) => architecture,
            (architecture, None) => architecture.unwrap_or_default(),
        };
        let wanted = match wanted {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        if wanted == self.machine {
            return Ok(());
        }
        Err(Failure::failed(Problem::new(format!(
            "disco ({}) is for {}, and the image is for {wanted}; build it for that architecture and name it with --disco",
            self.place, self.machine
        ))))
    }
}

/// A program `disco` that can be run here, static or not: for trials of layers.
///
/// # Errors
/// There is none.
pub fn runnable(named: Option<&Path>) -> Result<Runnable, Failure> {
    if let Some(path) = named {
        return Ok(Runnable::Named(path.to_owned()));
    }
    if let Some(bytes) = EMBEDDED {
        let write = || {
            let dir = tempfile::tempdir()?;
            let path = dir.path().join("disco");
            std::fs::write(&path, bytes)?;
            super::files::set_mode(&path, 0o755)?;
            std::io::Result::Ok(Runnable::Unpacked(dir, path))
        };
        return write().map_err(|error| {
            Failure::failed(Problem::new(format!(
                "cannot unpack the disco inside cake: {error}"
            )))
        });
    }
    match beside().find(|path| path.is_file()) {
        Some(path) => Ok(Runnable::Named(path)),
        None => Err(Failure::failed(Problem::new(
            "there is no disco beside cake to try the layer with; name one with --disco or CAKE_DISCO",
        ))),
    }
}

/// A disco to run.
#[derive(Debug)]
pub enum Runnable {
    /// This file.
    Named(PathBuf),
    /// This file, in a directory that goes with it.
    Unpacked(tempfile::TempDir, PathBuf),
}

impl Runnable {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Unpacked(_, path) => path,
        }
    }
}

/// Where a disco that belongs to this cake may lie: beside it, or where cargo puts the one that ships.
fn beside() -> impl Iterator<Item = PathBuf> {
    let own = std::env::current_exe().ok();
    let dir = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    dir.into_iter().flat_map(|dir| {
        let target = dir.parent().map(Path::to_owned);
        let shipped = target.into_iter().flat_map(|target| {
            ["musl", "gnu"].map(|libc| {
                let triple = format!("{}-unknown-linux-{libc}", std::env::consts::ARCH);
                target.join(triple).join("dist/disco")
            })
        });
        std::iter::once(dir.join("disco")).chain(shipped)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_static_is_refused_with_the_way_to_get_one() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        if Elf::parse(&own).unwrap().loader.is_some() {
            let problem = Disco::checked(own, "x".to_owned()).unwrap_err();
            assert!(problem.message.contains("not static"), "{problem}");
            assert!(problem.message.contains("--profile dist"), "{problem}");
        }
        assert!(Disco::checked(b"#!/bin/sh".to_vec(), "x".to_owned()).is_err());
    }

    #[test]
    fn a_platform_names_its_architecture_in_several_ways() {
        let disco = Disco {
            bytes: Vec::new(),
            place: "x".to_owned(),
            machine: "arm64".to_owned(),
        };
        for platform in [
            "linux/arm64",
            "linux/arm64/v8",
            "arm64",
            "aarch64",
            "linux/aarch64",
        ] {
            assert!(disco.suits(platform).is_ok(), "{platform}");
        }
        let failure = disco.suits("linux/amd64").unwrap_err();
        assert!(failure.problems[0].message.contains("for arm64"));
    }
}
