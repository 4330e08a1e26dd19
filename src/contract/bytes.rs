//! Amounts of memory as users write them: bytes, or with `K`, `M`, `G` for powers of 1024, as in
//! Docker and systemd.

/// Parses an amount; the unit may be followed by `B` or `iB`, in any case.
///
/// # Errors
/// A sentence that names what was expected, to be put after the name of the setting.
pub fn parse(text: &str) -> Result<u64, String> {
    let expected = || {
        format!("`{text}` is no amount; expected bytes, or a number with K, M or G, such as `512M`")
    };
    let text_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(text_end);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let unit = unit.trim().to_ascii_lowercase();
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(expected()),
    };
    number.checked_mul(1 << shift).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("4k", 4096),
            ("512M", 512 << 20),
            ("512 MiB", 512 << 20),
            ("1gb", 1 << 30),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "M",
            "-1",
            "1.5G",
            "1X",
            "99999999999999999999",
            "99999999999G",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
