//! Amounts of processors and memory as contracts ask for them (asyncy A-70): decimal units as they are
//! printed on memory, binary ones with an `i`, as in Kubernetes. The settings of disco itself are
//! sized by [`super::bytes`], where `M` is Docker's.

/// Parses an amount of memory in bytes: `250GB`, `512Mi`, `1.5GiB`, bare bytes. `KB` is 1000 bytes,
/// `Ki` and `KiB` are 1024; a bare letter is decimal.
///
/// # Errors
/// What was expected, as a fragment.
pub fn memory(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let unit = unit.to_ascii_lowercase();
    let scale: u64 = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 1,
        "k" => 1000,
        "m" => 1000_u64.pow(2),
        "g" => 1000_u64.pow(3),
        "t" => 1000_u64.pow(4),
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        "ti" => 1 << 40,
        _ => 0,
    };
    scaled(number, scale).ok_or_else(|| {
        format!("`{text}` is no amount of memory; expected bytes, or a number with KB, MB, GB, TB, Ki, Mi, Gi or Ti")
    })
}

/// Parses a number of processors in thousandths: `1`, `0.5`, `500m`.
///
/// # Errors
/// What was expected, as a fragment.
pub fn processors(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let scale = match unit {
        "" => 1000,
        "m" => 1,
        _ => 0,
    };
    scaled(number, scale).ok_or_else(|| {
        format!("`{text}` is no number of processors; expected one such as `2`, `0.5` or `500m`")
    })
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.'));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    (number, unit.trim())
}

/// The product, exact for whole numbers. `None` for what is no number, too large, or has no unit.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    if scale == 0 {
        return None;
    }
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale);
    }
    let (whole, fraction) = number.split_once('.')?;
    // Nine digits are more than anybody means, and keep the product in range.
    let digits = fraction.get(..fraction.len().min(9))?;
    let parse = |text: &str| match text {
        "" => Some(0),
        text => text.parse::<u64>().ok(),
    };
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let power = 10_u128.pow(u32::try_from(digits.len()).ok()?);
    let part = u128::from(parse(digits)?) * u128::from(scale) / power;
    let whole = parse(whole)?.checked_mul(scale)?;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// An amount of memory for people, in the unit that keeps it short.
#[must_use]
pub fn show_memory(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit {
            let tenths = bytes / (unit / 10).max(1);
            return match (tenths / 10, tenths % 10) {
                (whole, 0) => format!("{whole} {name}"),
                (whole, rest) => format!("{whole}.{rest} {name}"),
            };
        }
    }
    format!("{bytes} bytes")
}

/// A number of processors for people.
#[must_use]
pub fn show_processors(thousandths: u64) -> String {
    match (thousandths / 1000, thousandths % 1000) {
        (whole, 0) => whole.to_string(),
        (whole, rest) => {
            let text = format!("{whole}.{rest:03}");
            text.trim_end_matches('0').to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a70_memory_takes_every_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("250GB", 250_000_000_000),
            ("250 gb", 250_000_000_000),
            ("1K", 1000),
            ("1KB", 1000),
            ("1Ki", 1024),
            ("1KiB", 1024),
            ("512Mi", 512 << 20),
            ("1.5Gi", 3 << 29),
            ("2TB", 2_000_000_000_000),
            (".5Ki", 512),
        ] {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "GB",
            "-1",
            "1.2.3GB",
            ".",
            "1X",
            "1GBB",
            "99999999999TB",
            "1e9",
            "lots",
        ] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a70_processors_may_be_fractional() {
        for (text, thousandths) in [
            ("1", 1000),
            ("0.5", 500),
            ("500m", 500),
            ("2.25", 2250),
            ("0", 0),
        ] {
            assert_eq!(processors(text), Ok(thousandths), "{text}");
        }
        for text in ["", "m", "one", "1 core", "-1", "1.5.5"] {
            assert!(processors(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_shown_short() {
        assert_eq!(show_memory(250_000_000_000), "232.8 GiB");
        assert_eq!(show_memory(512 << 20), "512 MiB");
        assert_eq!(show_memory(100), "100 bytes");
        assert_eq!(show_processors(1500), "1.5");
        assert_eq!(show_processors(2000), "2");
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "\\PC{0,24}") {
            let _ = (memory(&text), processors(&text));
        }

        #[test]
        fn whole_numbers_are_exact(number in 0_u64..1_000_000) {
            prop_assert_eq!(memory(&format!("{number}Gi")), Ok(number << 30));
            prop_assert_eq!(processors(&number.to_string()), Ok(number * 1000));
        }
    }
}
