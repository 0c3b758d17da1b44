//! `okteto.dev` and `okteto.global`: names for the job's own namespace and for the global one, wherever the registry is.

use crate::reference::{ImageRef, InvalidReference, ReferenceProblem, RegistryHost};

const DEV: &str = "okteto.dev";
const GLOBAL: &str = "okteto.global";

/// What the two alias hosts stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// The registry that both are on.
    pub registry: RegistryHost,
    /// The namespace that `okteto.dev` means.
    pub namespace: String,
    /// The namespace that `okteto.global` means.
    pub global: String,
}

// === impl Hosts ===

impl Hosts {
    /// Whether a reference uses one of the two aliases.
    pub fn is_alias(reference: &str) -> bool {
        Self::split(reference).is_some()
    }

    /// Parses a reference, aliases resolved: `okteto.dev/x:1` is `<registry>/<namespace>/x:1`.
    pub fn resolve(&self, reference: &str) -> Result<ImageRef, InvalidReference> {
        let invalid = |problem| InvalidReference { reference: reference.to_owned(), problem };
        let Some((alias, rest)) = Self::split(reference) else {
            return reference.parse();
        };
        if rest.is_empty() || rest.starts_with([':', '@']) {
            return Err(invalid(ReferenceProblem::NoRepository));
        }
        let namespace = if alias == DEV { &self.namespace } else { &self.global };
        format!("{}/{namespace}/{rest}", self.registry)
            .parse()
            .map_err(|error: InvalidReference| invalid(error.problem))
    }

    fn split(reference: &str) -> Option<(&'static str, &str)> {
        [DEV, GLOBAL].into_iter().find_map(|alias| match reference.strip_prefix(alias)? {
            "" => Some((alias, "")),
            rest => rest.strip_prefix('/').map(|rest| (alias, rest)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        Hosts {
            registry: "127.0.0.1:7701".parse().expect("host"),
            namespace: "dev".to_owned(),
            global: "okteto".to_owned(),
        }
    }

    #[test]
    fn aliases_are_resolved() {
        for (text, expected) in [
            ("okteto.dev/app-api:okteto", "127.0.0.1:7701/dev/app-api:okteto"),
            ("okteto.dev/app", "127.0.0.1:7701/dev/app"),
            ("okteto.dev/a/b:1", "127.0.0.1:7701/dev/a/b:1"),
            ("okteto.global/runner:1.0", "127.0.0.1:7701/okteto/runner:1.0"),
            ("okteto.devious/app", "okteto.devious/app"),
            ("debian", "docker.io/library/debian"),
            ("other.example/okteto.dev/x", "other.example/okteto.dev/x"),
        ] {
            assert_eq!(hosts().resolve(text).expect(text).to_string(), expected);
        }
        assert!(Hosts::is_alias("okteto.dev/x") && Hosts::is_alias("okteto.global/x"));
        assert!(!Hosts::is_alias("okteto.devx/x") && !Hosts::is_alias("x/okteto.dev"));
    }

    #[test]
    fn an_alias_cannot_leave_its_namespace() {
        for text in
            ["okteto.dev", "okteto.dev/", "okteto.dev/:1", "okteto.dev/../other/x", "okteto.dev//x", "okteto.dev/X"]
        {
            let error = hosts().resolve(text).expect_err(text);
            assert_eq!(error.reference, text);
        }
    }
}
