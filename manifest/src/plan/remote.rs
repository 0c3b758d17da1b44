//! Where commands run.

use super::types::{CommandsPlan, Section};

/// Where commands run, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// In the service's runner; else on the caller's machine.
    pub remote: bool,
    /// For people.
    pub reason: String,
    /// They would run on the caller's machine, were it not for `OKTETO_FORCE_REMOTE`.
    pub forced: bool,
}

/// What besides the manifest says where commands run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// `--remote`, where it was given.
    pub flag: Option<bool>,
    /// `OKTETO_FORCE_REMOTE` is true in any scope.
    pub force: bool,
    /// `OKTETO_DEPLOY_REMOTE` is true: we are in a runner.
    pub in_runner: bool,
}

/// Decides as Okteto does.
///
/// Without force, `--remote=false` does not undo an `image` or `remote: true` of the manifest; with force, either of
/// `--remote=false` and `remote: false` does, also when there is an `image`. In a runner `destroy` stays there. Tests are
/// always remote.
pub fn remote_decision(commands: &CommandsPlan, asked: Asked) -> Decision {
    let (remote, reason) = decide(commands, asked);
    let forced = remote && asked.force && !decide(commands, Asked { force: false, ..asked }).0;
    Decision { remote, reason: reason.to_owned(), forced }
}

fn decide(commands: &CommandsPlan, Asked { flag, force, in_runner }: Asked) -> (bool, &'static str) {
    match commands.section {
        Section::Test => return (true, "tests always run on the service"),
        Section::Destroy if in_runner => return (false, "OKTETO_DEPLOY_REMOTE is true: this is a runner already"),
        Section::Dependencies => return (true, "dependencies are deployed by the service"),
        Section::Deploy | Section::Destroy => {}
    }
    match (force, flag, commands.remote) {
        (true, Some(false), _) => (false, "OKTETO_FORCE_REMOTE is true, but --remote=false was given"),
        (true, _, Some(false)) => (false, "OKTETO_FORCE_REMOTE is true, but the manifest says `remote: false`"),
        (true, ..) => (true, "OKTETO_FORCE_REMOTE is true"),
        (false, Some(true), _) => (true, "--remote was given"),
        (false, ..) if commands.image.is_some() => (true, "the manifest names an `image` for the commands"),
        (false, _, Some(true)) => (true, "the manifest says `remote: true`"),
        (false, Some(false), _) => (false, "--remote=false was given"),
        (false, _, Some(false)) => (false, "the manifest says `remote: false`"),
        (false, None, None) => (false, "nothing asks for a remote run"),
    }
}
