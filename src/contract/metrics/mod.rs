//! What containers count: Metrics 2.0 as they write it, the latest of every series, and the forms in
//! which others read it. Nothing here opens the pipe, answers a request or sends one.
//!
//! Reading order: [`parse`] turns lines into points, [`store`] keeps the last of each series, [`model`]
//! is what both that and disco's own numbers become, [`openmetrics`] and [`otlp`] write it.

pub mod model;
mod names;
pub mod openmetrics;
pub mod otlp;
pub mod parse;
pub mod store;

/// The tags of a point or what is told about them, by key.
pub type Tags = std::collections::BTreeMap<String, String>;

/// How much of what somebody else wrote a message shows.
const SHOWN: usize = 60;

/// Foreign text for a message: in backticks, cut, and with everything escaped that a terminal or a
/// log could take for its own.
fn show(text: &str) -> String {
    let mut shown = String::from("`");
    for (at, c) in text.chars().enumerate() {
        if at == SHOWN {
            shown.push('…');
            break;
        }
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            '`' => shown.push('\''),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown.push('`');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_cut_and_harmless() {
        assert_eq!(show("a=\"b\" é"), "`a=\"b\" é`");
        assert_eq!(show("\u{1b}[2J\n`\u{202e}"), r"`\u{1b}[2J\n'\u{202e}`");
        assert_eq!(show(&"x".repeat(61)), format!("`{}…`", "x".repeat(60)));
    }
}
