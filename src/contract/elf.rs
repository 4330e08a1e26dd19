//! What the head of a program says of it: for which machine it is, and whether it needs a loader.
//!
//! Only what decides whether it runs in an image that holds nothing else (elf(5)).

/// The head of an ELF program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// The architecture as Docker names it (`amd64`, `arm64`), or the number of `e_machine`.
    pub machine: String,
    /// The loader it asks for: the program is not static.
    pub loader: Option<String>,
}

const PT_INTERP: u32 = 3;

impl Elf {
    /// Reads the head of a program; `None` for whatever is no ELF program, or is cut short.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let is_wide = match bytes.get(..6)? {
            [0x7f, b'E', b'L', b'F', 1, _] => false,
            [0x7f, b'E', b'L', b'F', 2, _] => true,
            _ => return None,
        };
        let reader = Reader {
            bytes,
            is_little: *bytes.get(5)? == 1,
        };
        let machine = reader.number(18, 2)?;
        // e_phoff, e_phentsize, e_phnum; p_offset and p_filesz within an entry.
        let (table, entry_size, count) = match is_wide {
            true => (
                reader.number(32, 8)?,
                reader.number(54, 2)?,
                reader.number(56, 2)?,
            ),
            false => (
                reader.number(28, 4)?,
                reader.number(42, 2)?,
                reader.number(44, 2)?,
            ),
        };
        let mut loader = None;
        for index in 0..count {
            let entry = table.checked_add(index.checked_mul(entry_size)?)?;
            if reader.number(entry, 4)? != u64::from(PT_INTERP) {
                continue;
            }
            let (offset, size) = match is_wide {
                true => (
                    reader.number(entry.checked_add(8)?, 8)?,
                    reader.number(entry.checked_add(32)?, 8)?,
                ),
                false => (
                    reader.number(entry.checked_add(4)?, 4)?,
                    reader.number(entry.checked_add(16)?, 4)?,
                ),
            };
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(usize::try_from(size).ok()?)?;
            let name = String::from_utf8_lossy(bytes.get(start..end)?);
            loader = Some(name.trim_end_matches('\0').to_owned());
        }
        Some(Self {
            machine: architecture(machine),
            loader,
        })
    }
}

/// The names that GOARCH, and so Docker, has for `e_machine`.
fn architecture(machine: u64) -> String {
    match machine {
        3 => "386",
        21 => "ppc64le",
        22 => "s390x",
        40 => "arm",
        62 => "amd64",
        183 => "arm64",
        243 => "riscv64",
        258 => "loong64",
        other => return other.to_string(),
    }
    .to_owned()
}

struct Reader<'a> {
    bytes: &'a [u8],
    is_little: bool,
}

impl Reader<'_> {
    fn number(&self, at: u64, size: usize) -> Option<u64> {
        let start = usize::try_from(at).ok()?;
        let bytes = self.bytes.get(start..start.checked_add(size)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(match self.is_little {
            true => bytes.iter().rev().fold(0, add),
            false => bytes.iter().fold(0, add),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A 64-bit little-endian program for x86-64 with one segment of this type.
    fn program(kind: u32) -> Vec<u8> {
        let mut bytes = vec![0_u8; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18] = 62;
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64..68].copy_from_slice(&kind.to_le_bytes());
        bytes[64 + 8] = 120;
        bytes[64 + 32] = 7;
        bytes.extend(b"/lib/l\0");
        bytes
    }

    #[test]
    fn the_machine_and_the_loader_are_read() {
        let (machine, loader) = ("amd64".to_owned(), None);
        assert_eq!(Elf::parse(&program(1)), Some(Elf { machine, loader }));
        let loader = Elf::parse(&program(PT_INTERP)).unwrap().loader;
        assert_eq!(loader.as_deref(), Some("/lib/l"));
    }

    #[test]
    fn what_is_no_program_is_none() {
        for bytes in [&b"#!/bin/sh\n"[..], b"", b"\x7fELF", &program(3)[..100]] {
            assert_eq!(Elf::parse(bytes), None);
        }
    }

    proptest! {
        #[test]
        fn no_head_is_too_odd(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), wide in 1_u8..=2) {
            if let Some(head) = bytes.get_mut(..5) {
                head.copy_from_slice(&[0x7f, b'E', b'L', b'F', wide]);
            }
            let _ = Elf::parse(&bytes);
        }
    }
}
