//! What is only shown: `files` and `env`.

use clap::{Args, ValueEnum};

use super::{NameArgs, VarArgs};

/// `files`.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// build:SERVICE, deploy, destroy or test:NAME [default: the only build, else deploy]
    #[arg(long = "for", value_name = "WHAT")]
    pub(crate) purpose: Option<String>,
    /// Mode, size and digest too
    #[arg(long)]
    pub(crate) long: bool,
    /// Variables.
    #[command(flatten)]
    pub(crate) vars: VarArgs,
}

/// `env`.
#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// How to write them [default: dotenv; json with --output json]
    #[arg(long, value_enum)]
    pub(crate) format: Option<EnvFormat>,
    /// Its name.
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// Variables.
    #[command(flatten)]
    pub(crate) vars: VarArgs,
}

/// Values of `env --format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnvFormat {
    /// NAME=value, for --env-file options and for `.` in a shell
    Dotenv,
    /// export NAME='value', for `eval` in a shell
    Shell,
    /// One object
    Json,
    /// What to append to the file $GITHUB_ENV of GitHub Actions
    Github,
}
