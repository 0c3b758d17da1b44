//! Options that several commands have: variables, the environment, where and how a job runs.

use std::time::Duration;

use clap::Args;
use slipway_commands::MAX_GRACE;

/// Options that go into the manifest's expansion.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct VarArgs {
    /// Set a variable for the manifest's expansion and for commands (repeatable)
    #[arg(long = "var", value_name = "K=V")]
    pub(crate) vars: Vec<String>,
}

/// Which environment it is about.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NameArgs {
    /// Name the environment, whatever the manifest calls the application
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Where commands run.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlaceArgs {
    /// Run the commands on the service, as `remote: true` or an `image` in the manifest and OKTETO_FORCE_REMOTE=true do. Else
    /// they run on this machine
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) remote: Option<bool>,
}

/// What is done of a job with commands.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct JobArgs {
    /// Print the job's id once the service has everything, and leave
    #[arg(long)]
    pub(crate) detach: bool,
    /// Do nothing: print the plan as JSON, with where the commands would run and why
    #[arg(long, conflicts_with = "detach")]
    pub(crate) print: bool,
    /// How long the processes of a command that has to end may take for that after TERM, before KILL: at most 10m
    /// [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = grace)]
    pub(crate) grace: Option<Duration>,
    /// Give the commands an SSH agent: the one here (`default`), a socket, private keys, or one with the key in a variable that the
    /// service keeps
    #[arg(long, value_name = "ID[=SOCKET|=KEY[,KEY]|=variable:NAME]")]
    pub(crate) ssh: Option<String>,
}

/// How long commands may take to end.
pub(super) fn grace(text: &str) -> Result<Duration, String> {
    let grace = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if grace > MAX_GRACE { Err(format!("at most {}", humantime::format_duration(MAX_GRACE))) } else { Ok(grace) }
}

/// What is done where another job changes the same environment.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TurnArgs {
    /// Wait for jobs that change the same environment; with --wait=false be refused (exit status 3), and told which job that
    /// is [default: true]
    #[arg(
        long, short_alias = 'w', value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    wait: Option<bool>,
}

impl TurnArgs {
    /// Whether to be refused rather than to wait.
    pub(crate) fn no_wait(&self) -> bool {
        self.wait == Some(false)
    }

    /// Whether it was said that it is to wait, which is another thing in Okteto.
    pub(crate) fn waits(&self) -> bool {
        self.wait == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn remote_has_three_states() {
        let remote = |args: &[&str]| {
            let cli = Cli::try_parse_from(["slipway", "deploy"].iter().chain(args)).unwrap();
            let Command::Deploy(deploy) = cli.command else { panic!("not deploy") };
            deploy.place.remote
        };
        assert_eq!(remote(&[]), None);
        assert_eq!(remote(&["--remote"]), Some(true));
        assert_eq!(remote(&["--remote=false"]), Some(false));
        assert_eq!(remote(&["--remote=true"]), Some(true));
    }

    #[test]
    fn grace_is_bounded_and_wait_can_be_turned_off() {
        let deploy = |args: &[&str]| {
            let cli = Cli::try_parse_from(["slipway", "deploy"].iter().chain(args))?;
            let Command::Deploy(deploy) = cli.command else { panic!("not deploy") };
            Ok::<_, clap::Error>((deploy.turn.no_wait(), deploy.job.grace))
        };
        assert_eq!(deploy(&[]).unwrap(), (false, None));
        assert_eq!(deploy(&["--wait=false", "--grace=1m 30s"]).unwrap(), (true, Some(Duration::from_secs(90))));
        assert_eq!(deploy(&["--wait", "--grace", "0s"]).unwrap(), (false, Some(Duration::ZERO)));
        let cancel = |args: &[&str]| Cli::try_parse_from([&["slipway", "job", "cancel", "x"], args].concat());
        cancel(&["--grace", "0s"]).unwrap();
        cancel(&["--grace", "11m"]).unwrap_err();
        for wrong in ["--grace=11m", "--grace=-1s", "--grace=soon"] {
            assert!(deploy(&[wrong]).is_err(), "{wrong}");
        }
    }
}
