//! Where deploy commands run.

use crate::manifest::CommandSection;

/// Where commands run, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// In the service's runner; else on the caller's machine.
    pub remote: bool,
    /// For people.
    pub reason: String,
}

/// Decides as Okteto does. `flag` is `--remote` where it was given, `force_remote` whether `OKTETO_FORCE_REMOTE` is true in
/// any scope.
///
/// Without force, `--remote=false` does not undo an `image` or `remote: true` of the manifest; with force, either of
/// `--remote=false` and `remote: false` does, also when there is an `image`.
pub fn remote_decision(run: &CommandSection, flag: Option<bool>, force_remote: bool) -> Decision {
    let image = run.image.is_some();
    let (remote, reason) = match (force_remote, flag, run.remote) {
        (true, Some(false), _) => (false, "OKTETO_FORCE_REMOTE is true, but --remote=false was given"),
        (true, _, Some(false)) => (false, "OKTETO_FORCE_REMOTE is true, but the manifest says `remote: false`"),
        (true, ..) => (true, "OKTETO_FORCE_REMOTE is true"),
        (false, Some(true), _) => (true, "--remote was given"),
        (false, ..) if image => (true, "the manifest names an `image` for its deploy commands"),
        (false, _, Some(true)) => (true, "the manifest says `remote: true`"),
        (false, Some(false), _) => (false, "--remote=false was given"),
        (false, _, Some(false)) => (false, "the manifest says `remote: false`"),
        (false, None, None) => (false, "nothing asks for a remote run"),
    };
    Decision { remote, reason: reason.to_owned() }
}
