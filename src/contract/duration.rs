//! Durations as users write them: `500ms`, `5s`, `2m`, `1h`, and bare seconds as in the seed.

use std::time::Duration;

/// Longest duration accepted: a week. Anything above is a slip of the keyboard.
pub const MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Parses a duration. Numbers may have a fraction (`1.5s`); without a unit they are seconds.
///
/// # Errors
/// A sentence that names what was expected, to be put after the name of the setting.
pub fn parse(text: &str) -> Result<Duration, String> {
    let expected = || {
        format!(
            "`{text}` is no duration; expected a number with `ms`, `s`, `m` or `h`, or bare seconds, such as `500ms` or `5`"
        )
    };
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| expected())?;
    let scale = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected()),
    };
    match Duration::try_from_secs_f64(number * scale) {
        Ok(duration) if duration <= MAX => Ok(duration),
        _ => Err(format!("`{text}` is longer than a week")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_units_fractions_and_bare_seconds() {
        for (text, millis) in [
            ("500ms", 500),
            ("5s", 5000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("5", 5000),
            ("1.5", 1500),
            ("0", 0),
            ("0.25s", 250),
            ("5 s", 5000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "abc", "-1", "5x", "s", "1e99", "99999h", "1..2", "5sm"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
