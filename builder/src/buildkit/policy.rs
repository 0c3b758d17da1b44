//! Which images a job may use as sources, as BuildKit's source policy (`sourcepolicy/policy.proto`).
//!
//! A session without credentials is not enough: an engine may have a private image in its own store, or a token from another
//! session. The policy is checked before any of that.

use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy::{
    AttrConstraint, AttrMatch, MatchType, Policy, PolicyAction, Rule, Selector, Update,
};

/// What to do with the sources that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Use this source instead (`$1`: what the pattern's group matched), if the rules let it in.
    Convert(String),
    /// Let them in.
    Allow,
    /// Refuse them.
    Deny,
}

/// A rule: a decision, and the regular expression over source identifiers (`docker-image://host/ns/…`) that it is for. Of
/// several that match, the last decides.
pub type SourceRule = (Decision, String);

/// The rules as BuildKit takes them, and one more: what the engine fetches with a caller's SSH agent (`ADD git@…`) it would keep
/// for everybody who names the same commit.
pub(super) fn policy(rules: &[SourceRule]) -> Policy {
    let with_agent = Rule {
        action: PolicyAction::Deny.into(),
        selector: Some(Selector {
            identifier: "^git://".to_owned(),
            match_type: MatchType::Regex.into(),
            constraints: vec![AttrConstraint {
                key: "git.mountsshsock".to_owned(),
                value: ".".to_owned(),
                condition: AttrMatch::Matches.into(),
            }],
        }),
        updates: None,
    };
    let rules = rules.iter().map(|(decision, pattern)| Rule {
        action: match decision {
            Decision::Convert(_) => PolicyAction::Convert.into(),
            Decision::Allow => PolicyAction::Allow.into(),
            Decision::Deny => PolicyAction::Deny.into(),
        },
        selector: Some(Selector {
            identifier: pattern.clone(),
            match_type: MatchType::Regex.into(),
            constraints: Vec::new(),
        }),
        updates: match decision {
            Decision::Convert(to) => Some(Update { identifier: to.clone(), ..Update::default() }),
            _ => None,
        },
    });
    Policy { version: 1, rules: rules.chain([with_agent]).collect() }
}
