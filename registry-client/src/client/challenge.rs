//! What a registry's 401 asks for.

use http_auth::parser::ChallengeParser;

/// A challenge that can be answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password, sent to the registry itself.
    Basic,
    /// A token from the server at `realm`.
    Bearer { realm: String, service: Option<String> },
}

// === impl Challenge ===

impl Challenge {
    /// The first challenge of a known scheme among the header's values.
    pub(super) fn first_known<'a>(values: impl Iterator<Item = &'a str>) -> Option<Self> {
        values.flat_map(|value| ChallengeParser::new(value).map_while(Result::ok)).find_map(|challenge| {
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                return Some(Self::Basic);
            }
            if !challenge.scheme.eq_ignore_ascii_case("bearer") {
                return None;
            }
            let param = |name: &str| {
                let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            Some(Self::Bearer { realm: param("realm")?, service: param("service") })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (values, expected) in [
            (
                vec![r#"Bearer realm="http://h/token",service="s",scope="repository:a:pull,push""#],
                bearer("http://h/token", Some("s")),
            ),
            (vec![r#"bearer realm="https://h/t""#], bearer("https://h/t", None)),
            (vec![r#"Basic realm="x""#], Some(Challenge::Basic)),
            (vec!["Negotiate", r#"Basic realm="x""#], Some(Challenge::Basic)),
            (vec![r#"Bearer service="s""#], None),
            (vec!["", "???"], None),
            (vec![], None),
        ] {
            assert_eq!(Challenge::first_known(values.iter().copied()), expected, "{values:?}");
        }
    }
}
