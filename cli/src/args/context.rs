//! The services that are known, and the one in use: `login` and `context`.

use clap::{Args, Subcommand};

/// `login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The service's URL. The token comes from --token, SLIPWAY_TOKEN, OKTETO_TOKEN or standard input
    #[arg(value_name = "URL")]
    pub(crate) url: String,
}

/// `context`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ContextArgs {
    /// The same as `use` with it, as Okteto has it
    #[arg(hide = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// `--token`
    #[arg(short = 't', hide = true, value_name = "TOKEN")]
    pub(crate) short_token: Option<String>,
    /// What to do; Okteto shows the one in use where nothing is said.
    #[command(subcommand)]
    pub(crate) command: Option<ContextCommand>,
}

/// `context …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// All contexts; the one in use is marked with *
    #[command(alias = "ls")]
    List,
    /// Use this context from now on, with --namespace as its namespace if given; with --token, log in to it
    Use {
        /// The service's URL, or its host
        url: String,
        /// `--token`
        #[arg(short = 't', hide = true, value_name = "TOKEN")]
        short_token: Option<String>,
    },
    /// The service, user and namespace that commands would use now
    Show,
}
