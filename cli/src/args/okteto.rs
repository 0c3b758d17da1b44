//! What Okteto's command has besides, so that commands written for it work or are told what to use instead. Nothing of it is in
//! the help; `commands/okteto.rs` says what becomes of it.

use clap::{Args, Subcommand};

use super::OutputArg;

/// Okteto's commands that are not slipway's.
#[derive(Debug, Subcommand)]
pub(crate) enum OktetoCommand {
    /// Okteto gets credentials for the cluster
    #[command(hide = true)]
    Kubeconfig,
    /// Okteto as a credential helper of Docker's tools
    #[command(hide = true, subcommand)]
    Registrytoken(RegistryTokenCommand),
    /// Okteto sends what it is used for
    #[command(hide = true)]
    Analytics(Rest),
    /// Okteto makes a token for the cluster
    #[command(hide = true)]
    Kubetoken(Rest),
    /// Okteto deploys a repository
    #[command(hide = true)]
    Pipeline(Rest),
    /// Okteto deploys a repository into a namespace of its own
    #[command(hide = true)]
    Preview(Rest),
    /// Okteto deploys a compose file
    #[command(hide = true)]
    Stack(Rest),
    /// Okteto lists what is reached from outside
    #[command(hide = true)]
    Endpoints(Rest),
    /// Okteto shows what pods write
    #[command(hide = true)]
    Logs(Rest),
    /// Okteto's development containers
    #[command(hide = true)]
    Up(Rest),
    /// Okteto's development containers
    #[command(hide = true)]
    Down(Rest),
    /// Okteto's development containers
    #[command(hide = true)]
    Exec(Rest),
    /// Okteto's development containers
    #[command(hide = true)]
    Status(Rest),
    /// Okteto's development containers
    #[command(hide = true)]
    Restart(Rest),
}

/// Whatever comes after a command that does nothing.
#[derive(Debug, Args)]
pub(crate) struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

/// `registrytoken …`: the protocol of Docker's credential helpers, and how it is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum RegistryTokenCommand {
    /// The login for the registry on standard input
    Get,
    /// All of them
    List,
    /// Keep one
    Store,
    /// Forget one
    Erase,
    /// The helper's version
    Version,
    /// Make Docker's tools use it
    Install {
        /// Also where they use another one
        #[arg(long)]
        force: bool,
    },
    /// Make them use it no more
    Uninstall {
        /// Whatever they use
        #[arg(long)]
        force: bool,
    },
}

/// Okteto's flags of `build`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OktetoBuildArgs {
    /// How to show what happens
    #[arg(long, hide = true, value_enum)]
    pub(crate) progress: Option<OutputArg>,
}

/// Okteto's flags of `deploy`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OktetoDeployArgs {
    /// How long to wait for pods
    #[arg(short, long, hide = true, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
    /// Commands run in `sh`
    #[arg(long, hide = true)]
    pub(crate) no_bash: bool,
}

/// Okteto's flags of `destroy`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OktetoDestroyArgs {
    /// Volumes, too
    #[arg(short = 'v', long, hide = true)]
    pub(crate) volumes: bool,
    /// Dependencies, too
    #[arg(long, hide = true)]
    pub(crate) dependencies: bool,
    /// All environments of the namespace
    #[arg(long, hide = true)]
    pub(crate) all: bool,
    /// Commands run in `sh`
    #[arg(long, hide = true)]
    pub(crate) no_bash: bool,
}

/// Okteto's flags of `test`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OktetoTestArgs {
    /// How long tests may take
    #[arg(short, long, hide = true, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
}

/// Okteto's flags of `namespace`, which is its `namespace use`, too.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OktetoNamespaceArgs {
    /// The namespace to use
    #[arg(hide = true, value_name = "NAMESPACE")]
    pub(crate) name: Option<String>,
    /// One's own
    #[arg(long, hide = true)]
    pub(crate) personal: bool,
}
