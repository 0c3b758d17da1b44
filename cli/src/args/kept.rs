//! The commands about what the service keeps: environments, images, namespaces, caches, variables, tokens, engines and jobs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::okteto::OktetoNamespaceArgs;

/// `environment …`.
#[derive(Debug, Subcommand)]
pub(crate) enum EnvironmentCommand {
    /// The environments of the namespace
    List {
        /// Also those that are destroyed
        #[arg(long)]
        all: bool,
    },
    /// What an environment keeps: images, variables, what was deployed
    Show {
        /// The application's name
        name: String,
        /// The values of its variables too, which may be secret
        #[arg(long)]
        plain: bool,
    },
    /// Forget environments and what they keep. What was deployed stays
    Delete {
        /// The applications' names
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

/// `image …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Images by their tags, of all repositories of the namespace or of one
    List {
        /// A repository, such as app-api, or a reference to it
        repository: Option<String>,
        /// Also tags that the service keeps for itself, to know what need not be built
        #[arg(long)]
        all: bool,
    },
    /// What an image is: digests, platforms, sizes and configurations
    Show {
        /// The image, such as okteto.dev/app-api:okteto
        #[arg(value_name = "REF")]
        image: String,
    },
    /// Remove images. By tag, the image goes when no other tag names it; by digest, with all its tags
    Delete {
        /// The images
        #[arg(value_name = "REF", required = true)]
        images: Vec<String>,
    },
}

/// `namespace`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct NamespaceArgs {
    /// What Okteto has.
    #[command(flatten)]
    pub(crate) okteto: OktetoNamespaceArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<NamespaceCommand>,
}

/// `namespace …`.
#[derive(Debug, Subcommand)]
pub(crate) enum NamespaceCommand {
    /// Make a namespace (admins only)
    Create {
        /// Its name
        name: String,
        /// Use it from now on
        #[arg(
            long = "use", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"
        )]
        then_use: Option<bool>,
    },
    /// Namespaces that you may use
    #[command(alias = "ls")]
    List,
    /// Use this namespace from now on, in the context in use
    Use {
        /// Its name
        name: String,
    },
    /// Okteto removes one
    #[command(hide = true)]
    Delete {
        /// Its name
        name: Option<String>,
    },
    /// Okteto stops what runs in one
    #[command(hide = true)]
    Sleep {
        /// Its name
        name: Option<String>,
    },
    /// Okteto starts it again
    #[command(hide = true)]
    Wake {
        /// Its name
        name: Option<String>,
    },
}

/// `cache …`.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// The cache mounts of the namespace's builds, on all engines
    List {
        /// A repository, such as app or okteto.dev/app [default: all]
        repository: Option<String>,
    },
    /// Remove cache mounts that no step has now
    Prune {
        /// A repository, such as app or okteto.dev/app
        #[arg(required_unless_present = "all")]
        repository: Option<String>,
        /// Those of all repositories of the namespace
        #[arg(long, conflicts_with = "repository")]
        all: bool,
        /// Only those that no step has had for so long, such as 12h or 7d
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        older_than: Option<Duration>,
    },
}

/// `variable …`.
#[derive(Debug, Subcommand)]
pub(crate) enum VariableCommand {
    /// The variables of a scope; values of plain ones only
    List {
        /// Whose
        #[arg(long, value_enum, default_value_t = ScopeArg::Namespace)]
        scope: ScopeArg,
    },
    /// Set a variable, in the place of one of the same name
    Set {
        /// Whose
        #[arg(long, value_enum)]
        scope: ScopeArg,
        /// Its value is shown in lists
        #[arg(long, conflicts_with = "secret")]
        plain: bool,
        /// Its value is for builds only: no client will ever get it
        #[arg(long)]
        secret: bool,
        /// Its name and value; with - as the value it comes from standard input
        #[arg(value_name = "KEY=VALUE|KEY=-")]
        variable: String,
    },
    /// Remove variables
    Unset {
        /// Whose
        #[arg(long, value_enum)]
        scope: ScopeArg,
        /// Their names
        #[arg(value_name = "KEY", required = true)]
        names: Vec<String>,
    },
}

/// Values of `--scope`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeArg {
    /// Everybody's; admins only
    Admin,
    /// Those of a namespace
    Namespace,
    /// Your own, in all namespaces
    User,
}

/// `token …`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print its secret, which is shown this once. --namespace (repeatable) says what it opens
    Create {
        /// Who it is for
        #[arg(long)]
        user: String,
        /// It may do everything, in every namespace
        #[arg(long)]
        admin: bool,
    },
    /// All tokens, without their secrets
    List,
    /// Make a token worthless
    Revoke {
        /// The token's id, as `token list` shows it
        id: String,
    },
}

/// `engine …`.
#[derive(Debug, Subcommand)]
pub(crate) enum EngineCommand {
    /// The service's engines, and how they are
    List,
    /// Give an engine no more builds; what runs on it goes on
    Drain {
        /// The engine's address, as `engine list` shows it
        address: String,
    },
    /// Give an engine builds again
    Resume {
        /// The engine's address
        address: String,
    },
}

/// `job …`.
#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// The newest jobs, of --namespace or of all namespaces that you may use
    List {
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// One job's state
    Show {
        /// The job's id
        job: String,
    },
    /// What a job has said
    Logs {
        /// The job's id
        job: String,
        /// Wait for more until the job ends
        #[arg(long)]
        follow: bool,
        /// Only events after this number
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: u64,
    },
    /// Wait until a job ends, and exit as it did: 0 succeeded, 1 failed or cancelled
    Wait {
        /// The job's id
        job: String,
    },
    /// Ask a job to end
    Cancel {
        /// The job's id
        job: String,
        /// How long the processes of its commands may take to end after TERM, before KILL (at most 10m) [default: what the job
        /// was submitted with; of one that is ending already it can only be shortened]
        #[arg(long, value_name = "DURATION", value_parser = super::job_options::grace)]
        grace: Option<Duration>,
    },
    /// Bring the artifacts of a job's tests, which are kept for a day
    Artifacts {
        /// The job
        job: String,
        /// Only those of this test; may be repeated
        #[arg(long = "test", value_name = "NAME")]
        tests: Vec<String>,
        /// The folder that they are written to
        #[arg(long, value_name = "DIR", default_value = ".")]
        to: PathBuf,
    },
    /// Show a job from its start and wait until it ends. Ctrl-C leaves it running
    Attach {
        /// The job's id
        job: String,
    },
}
