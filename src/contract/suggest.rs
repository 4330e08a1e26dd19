//! "Did you mean": the nearest known word to a mistyped one.

/// A hint such as ``; did you mean `consul`?``, or nothing where no known word is near.
#[must_use]
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let folded = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&folded, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map_or_else(String::new, |(_, candidate)| {
            format!("; did you mean `{candidate}`?")
        })
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
    }
}
