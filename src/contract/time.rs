//! Points in time as people write them in logs, and as disco writes them: RFC 3339 in UTC.
//!
//! No time zones but offsets; what names none is taken as UTC, which is what containers run in.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;

/// The first second of the year 0, and the last of 9999.
const FIRST: i64 = -62_167_219_200;
const LAST: i64 = 253_402_300_799;

/// Most digits of a fraction that are kept.
const DIGITS: u32 = 9;

/// A point in time. Prints as `2026-11-21T04:07:29.462Z`, with as many digits as it was written with, at
/// least three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Since 1970, in UTC.
    pub seconds: i64,
    /// Beyond that.
    pub nanos: u32,
    /// Digits of the fraction that mean something, 3 to 9.
    pub digits: u8,
}

impl Time {
    /// The time now, in milliseconds.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// The same for the standard library.
    #[must_use]
    pub fn to_system(self) -> Option<SystemTime> {
        let seconds = u64::try_from(self.seconds).ok()?;
        UNIX_EPOCH.checked_add(Duration::new(seconds, self.nanos))
    }

    /// Takes a time off the front of `text`: RFC 3339, or the same with a blank for its `T`, a comma for
    /// its point, slashes for its dashes as nginx has them, and without a zone. Returns what is behind. What is no date, such as the 30th of
    /// February, is no time.
    #[must_use]
    pub fn take(text: &[u8]) -> Option<(Self, &[u8])> {
        let (date, rest) = text.split_first_chunk::<10>()?;
        let (separator, rest) = rest.split_first()?;
        let (clock, mut rest) = rest.split_first_chunk::<8>()?;
        let is_date = matches!([date[4], date[7]], [b'-', b'-'] | [b'/', b'/']);
        if !is_date || [clock[2], clock[5]] != *b"::" || !matches!(separator, b'T' | b't' | b' ') {
            return None;
        }
        let year = i64::from(number(&date[..4])?);
        let (month, day) = (number(&date[5..7])?, number(&date[8..])?);
        let (hour, minute) = (number(&clock[..2])?, number(&clock[3..5])?);
        let second = number(&clock[6..])?;
        let is_clock = hour < 24 && minute < 60 && second <= 60; // a leap second is the next one
        if !is_clock || !(1..=12).contains(&month) || day == 0 || day > days(year, month) {
            return None;
        }
        let (mut nanos, mut digits) = (0, 3);
        if let [b'.' | b',', fraction @ ..] = rest
            && fraction.first().is_some_and(u8::is_ascii_digit)
        {
            (nanos, digits, rest) = take_fraction(fraction);
        }
        let offset;
        (offset, rest) = take_zone(rest)?;
        let clock = i64::from(hour * 3600 + minute * 60 + second);
        let time = Self {
            seconds: days_from_civil(year, month, day) * DAY + clock - offset,
            nanos,
            digits,
        };
        // What an offset takes out of the years of four digits could not be written again.
        (FIRST..=LAST)
            .contains(&time.seconds)
            .then_some((time, rest))
    }

    /// Takes a Unix time off the front of `text`: ten digits, with or without a fraction, or thirteen,
    /// which are milliseconds. Fewer or more are some other number.
    #[must_use]
    pub fn take_unix(text: &[u8]) -> Option<(Self, &[u8])> {
        let end = text.iter().position(|byte| !byte.is_ascii_digit());
        let (whole, rest) = text.split_at(end.unwrap_or(text.len()));
        match whole.len() {
            10 => {
                let seconds = i64::from(number(whole)?);
                let (nanos, digits, rest) = match rest {
                    [b'.', fraction @ ..] if fraction.first().is_some_and(u8::is_ascii_digit) => {
                        take_fraction(fraction)
                    }
                    _ => (0, 3, rest),
                };
                let time = Self {
                    seconds,
                    nanos,
                    digits,
                };
                Some((time, rest))
            }
            13 => {
                let (seconds, millis) = whole.split_at(10);
                let time = Self {
                    seconds: i64::from(number(seconds)?),
                    nanos: number(millis)? * 1_000_000,
                    digits: 3,
                };
                Some((time, rest))
            }
            _ => None,
        }
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            seconds: i64::try_from(since.as_secs()).unwrap_or(0),
            nanos: since.subsec_nanos(),
            digits: 3,
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = u32::from(self.digits).clamp(3, DIGITS);
        let fraction = self.nanos / 10_u32.pow(DIGITS - digits);
        let width = usize::from(self.digits.clamp(3, 9));
        write!(f, "{}.{fraction:0width$}Z", Seconds(self.seconds))
    }
}

/// Whole seconds since 1970, printed without a zone: `2026-11-21T04:07:29`.
pub struct Seconds(pub i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY));
        let of_day = self.0.rem_euclid(DAY);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            of_day / 3600,
            of_day / 60 % 60,
            of_day % 60
        )
    }
}

/// The number that ASCII digits make, if that is what they are.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Nanoseconds, how many digits they were written with, and what is behind.
fn take_fraction(text: &[u8]) -> (u32, u8, &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    let (fraction, rest) = text.split_at(end.unwrap_or(text.len()));
    let padded = fraction.iter().copied().chain(std::iter::repeat(b'0'));
    let nanos = padded
        .take(9)
        .fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    let digits = u8::try_from(fraction.len().clamp(3, 9)).unwrap_or(9);
    (nanos, digits, rest)
}

/// The offset to UTC in seconds, and what is behind. No zone at all is UTC; a broken one is no time.
fn take_zone(text: &[u8]) -> Option<(i64, &[u8])> {
    let (sign, digits) = match text {
        [b'Z' | b'z', rest @ ..] => return Some((0, rest)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return Some((0, text)),
    };
    let (hours, rest) = digits.split_first_chunk::<2>()?;
    let (minutes, rest) = match rest {
        [b':', tens, ones, rest @ ..] => (number(&[*tens, *ones])?, rest),
        [tens, ones, rest @ ..] if tens.is_ascii_digit() => (number(&[*tens, *ones])?, rest),
        _ => (0, rest),
    };
    let hours = number(hours)?;
    (hours < 24 && minutes < 60).then(|| (sign * i64::from(hours * 3600 + minutes * 60), rest))
}

/// Days of a month.
fn days(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 of a date, by Howard Hinnant's `days_from_civil` (public domain).
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = i64::from((month + 9) % 12);
    let of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

/// Year, month and day of a number of days since 1970, by Howard Hinnant's `civil_from_days` (public
/// domain).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(text: &str) -> Option<(String, String)> {
        let (time, rest) = Time::take(text.as_bytes())?;
        Some((time.to_string(), String::from_utf8(rest.to_vec()).unwrap()))
    }

    #[test]
    fn a33_every_spelling_of_a_time() {
        for (text, shown, rest) in [
            (
                "2026-11-21T04:07:29.462Z x",
                "2026-11-21T04:07:29.462Z",
                " x",
            ),
            ("2026-11-21t04:07:29z", "2026-11-21T04:07:29.000Z", ""),
            ("2026-11-21 04:07:29", "2026-11-21T04:07:29.000Z", ""),
            ("2026-11-21 04:07:29,5 x", "2026-11-21T04:07:29.500Z", " x"),
            (
                "2026-11-21 04:07:29.123456789",
                "2026-11-21T04:07:29.123456789Z",
                "",
            ),
            (
                "2026-11-21T04:07:29.1234567899Z",
                "2026-11-21T04:07:29.123456789Z",
                "",
            ),
            ("2026-11-21T04:07:29+02:00", "2026-11-21T02:07:29.000Z", ""),
            ("2026-11-21T00:07:29+0230]", "2026-11-20T21:37:29.000Z", "]"),
            ("2026-11-21T22:07:29-03", "2026-11-22T01:07:29.000Z", ""),
            ("2024-02-29T23:59:60Z", "2024-03-01T00:00:00.000Z", ""),
            ("2000-02-29 00:00:00.", "2000-02-29T00:00:00.000Z", "."),
        ] {
            assert_eq!(
                taken(text),
                Some((shown.to_owned(), rest.to_owned())),
                "{text}"
            );
        }
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T04:07",
            "2026-13-21T04:07:29",
            "2026-02-29T04:07:29",
            "2026-11-00T04:07:29",
            "2026-11-21T24:00:00",
            "2026-11-21T04:60:00",
            "2026/11-21 04:07:29",
            "9999-12-31T23:59:59-23:59",
            "0000-01-01T00:00:00+01:00",
            "2026-11-21T04:07:29+2",
            "2026-11-21T04:07:29+25:00",
            "x026-11-21T04:07:29",
        ] {
            assert_eq!(taken(text), None, "{text}");
        }
    }

    #[test]
    fn days_become_dates() {
        for (days, date) in [
            (-1, (1969, 12, 31)),
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_778, (2026, 11, 21)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil_from_days(days), date);
        }
    }

    #[test]
    fn a33_unix_times_are_ten_or_thirteen_digits() {
        for (text, shown) in [
            ("1763697649", "2025-11-21T04:00:49.000Z"),
            ("1763697649.5 x", "2025-11-21T04:00:49.500Z"),
            ("1763697649123", "2025-11-21T04:00:49.123Z"),
        ] {
            let (time, _) = Time::take_unix(text.as_bytes()).unwrap();
            assert_eq!(time.to_string(), shown, "{text}");
        }
        for text in ["", "42", "176369764", "17636976491", "17636976491234"] {
            assert_eq!(Time::take_unix(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(seconds in -62_135_596_800_i64..253_402_300_800, nanos in 0_u32..1_000_000_000, digits in 3_u8..=9) {
            let nanos = nanos - nanos % 10_u32.pow(9 - u32::from(digits));
            let time = Time { seconds, nanos, digits };
            let text = time.to_string();
            prop_assert_eq!(Time::take(text.as_bytes()), Some((time, &b""[..])), "{}", text);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in "[-0-9TZ:., +]{0,40}") {
            let _ = Time::take(bytes.as_bytes());
            let _ = Time::take_unix(bytes.as_bytes());
        }
    }
}
