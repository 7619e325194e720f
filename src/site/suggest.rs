//! The nearest known word to one that is not known.

/// The known word that `word` was probably meant to be: the nearest one by edit distance, as
/// long as at least half of it was typed right.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| {
            let plain = candidate.to_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&word, &plain), candidate)
        })
        .min()
        .filter(|(distance, candidate)| *distance * 2 <= candidate.len().max(word.len()))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_slip_of_the_fingers() {
        let known = ["name", "region", "domain", "time_zone"];
        assert_eq!(nearest("regoin", known), Some("region"));
        assert_eq!(nearest("Time-Zone", known), Some("time_zone"));
        assert_eq!(nearest("timezone", known), Some("time_zone"));
    }

    #[test]
    fn guesses_nothing_from_something_else() {
        assert_eq!(nearest("password", ["name", "region"]), None);
    }
}
