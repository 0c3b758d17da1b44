//! Options of every command.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

/// Options that every command has.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The service [env: SLIPWAY_SERVER, OKTETO_CONTEXT; else the context in use]
    #[arg(long, global = true, value_name = "URL", alias = "context", short_alias = 'c')]
    pub(crate) server: Option<String>,
    /// The token [env: SLIPWAY_TOKEN, OKTETO_TOKEN; else the context's]
    #[arg(long, global = true, value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The namespace [env: SLIPWAY_NAMESPACE, OKTETO_NAMESPACE; else the context's, else the only one you may
    /// use, else (for admins) dev]
    #[arg(short, long = "namespace", global = true, value_name = "NAMESPACE", action = ArgAction::Append)]
    pub(crate) namespaces: Vec<String>,
    /// The manifest [env: SLIPWAY_FILE; else okteto.yml, okteto.yaml, also in .okteto/]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How to show what happens [env: SLIPWAY_OUTPUT]
    #[arg(long, global = true, value_enum, short_alias = 'o')]
    pub(crate) output: Option<OutputArg>,
    /// Okteto's flag for it.
    #[arg(long, global = true, value_enum, hide = true)]
    pub(crate) log_output: Option<OutputArg>,
    /// How much slipway says about itself: error, warn, info, debug, trace [env: SLIPWAY_LOG_LEVEL]
    #[arg(long, global = true, value_name = "LEVEL", short_alias = 'l')]
    pub(crate) log_level: Option<String>,
}

/// Values of `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputArg {
    /// tty on a terminal, else plain
    Auto,
    /// For people at a terminal: what goes on now, below what has been done
    Tty,
    /// Lines of text
    Plain,
    /// Only the images, each with its digest
    Quiet,
    /// One event a line
    Json,
}
