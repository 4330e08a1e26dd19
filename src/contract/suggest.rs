//! "Did you mean": the nearest known word to a mistyped one.

/// The known word that was most likely meant, if one is near.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase().replace('-', "_");
    let distances = known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&folded, candidate), candidate));
    // A letter or two are near to everything that is short.
    let is_near = |(distance, candidate): &(usize, &str)| {
        *distance <= 1 + candidate.len() / 4 && 2 * *distance <= folded.len()
    };
    let nearest = distances
        .filter(is_near)
        .min_by_key(|(distance, _)| *distance);
    nearest.map(|(_, candidate)| candidate)
}

/// A hint such as ``; did you mean `consul`?``, or nothing where no known word is near.
#[must_use]
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        let known = ["consul", "etcd", "flat", "fail_limit"];
        assert_eq!(hint("consol", known), "; did you mean `consul`?");
        assert_eq!(hint("fail-limit", known), "; did you mean `fail_limit`?");
        assert_eq!(hint("zookeeper", known), "");
        assert_eq!(hint("z", ["bool", "any", "a"]), "");
        assert_eq!(hint("ab", ["a"]), "; did you mean `a`?");
    }
}
