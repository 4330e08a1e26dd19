//! Patterns in `${name#…}`, `${name%…}` and `${name/…/…}`: `*` and `?`, no brackets.

/// `${name#pattern}` and its three sisters.
pub(super) fn trimmed(value: &str, word: &str, modifier: char) -> String {
    let (pattern, is_longest) = match word.strip_prefix(modifier) {
        Some(pattern) => (pattern, true),
        None => (word, false),
    };
    let pattern: Vec<char> = pattern.chars().collect();
    let chars: Vec<char> = value.chars().collect();
    let is_front = modifier == '#';
    // How much goes: from little to much for the shortest match, from much to little for the longest.
    let mut counts: Vec<usize> = (0..=chars.len()).collect();
    if is_longest {
        counts.reverse();
    }
    let gone = |count: usize| match is_front {
        true => chars.split_at(count),
        false => {
            let (kept, gone) = chars.split_at(chars.len() - count);
            (gone, kept)
        }
    };
    let kept = counts
        .into_iter()
        .map(gone)
        .find(|(gone, _)| matches(&pattern, gone));
    kept.map_or_else(|| value.to_owned(), |(_, kept)| kept.iter().collect())
}

/// `${name/pattern/replacement}`, and with `//` everywhere.
pub(super) fn replaced(value: &str, pattern: &str, replacement: &str, is_all: bool) -> String {
    let pattern: Vec<char> = pattern.chars().collect();
    let chars: Vec<char> = value.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    let mut is_done = false;
    while at < chars.len() {
        let found = (at + 1..=chars.len())
            .rev()
            .find(|end| matches(&pattern, chars.get(at..*end).unwrap_or_default()));
        match found {
            Some(end) if !is_done => {
                out.push_str(replacement);
                at = end;
                is_done = !is_all;
            }
            _ => {
                out.extend(chars.get(at));
                at += 1;
            }
        }
    }
    out
}

/// Whether all of `text` is of the pattern: `*` any text, `?` any character, `\` takes their meaning.
fn matches(pattern: &[char], text: &[char]) -> bool {
    // The last `*`, and where what it stands for may have to grow.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut t) = (0, 0);
    while t < text.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('\\') => (pattern.get(p + 1) == text.get(t)).then_some(2),
            Some(char) => (Some(char) == text.get(t)).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(step), _) => {
                p += step;
                t += 1;
            }
            (None, Some((after, from))) => {
                star = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern.iter().skip(p).all(|char| *char == '*')
}
