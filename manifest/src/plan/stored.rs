//! Plans as earlier versions stored them: a job outlives an upgrade of the service.

use serde::{Deserialize, Deserializer};

/// A list, where there used to be one or none.
pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored<T> {
        Many(Vec<T>),
        AtMostOne(Option<T>),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Many(list) => list,
        Stored::AtMostOne(one) => one.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_none_and_many_are_lists() {
        let read = |text: &str| super::list::<_, String>(&mut serde_json::Deserializer::from_str(text)).ok();
        assert_eq!(read("null"), Some(Vec::new()));
        assert_eq!(read("\"a\""), Some(vec!["a".to_owned()]));
        assert_eq!(read("[\"a\",\"b\"]"), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(read("{}"), None);
    }
}
