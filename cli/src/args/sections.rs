//! Commands of the manifest's sections: `deploy`, `destroy` and `test`; and what the service runs for a dependency.

use std::path::PathBuf;

use clap::Args;

use super::{JobArgs, NameArgs, OktetoDeployArgs, OktetoDestroyArgs, OktetoTestArgs, PlaceArgs, TurnArgs, VarArgs};

/// `deploy`.
#[derive(Debug, Args)]
#[command(mut_arg("vars", |vars| vars.short_alias('v')))]
pub(crate) struct DeployArgs {
    /// Variables.
    #[command(flatten)]
    pub(crate) vars: VarArgs,
    /// Build all images, also those that are there
    #[arg(long, conflicts_with = "no_build")]
    pub(crate) build: bool,
    /// Build nothing: fail if an image is missing
    #[arg(long)]
    pub(crate) no_build: bool,
    /// Where the commands run.
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Run every step of the builds again
    #[arg(long, conflicts_with = "no_build")]
    pub(crate) no_cache: bool,
    /// Set a build argument of every service built (repeatable)
    #[arg(long = "build-arg", value_name = "K[=V]")]
    pub(crate) build_args: Vec<String>,
    /// Write the OKTETO_BUILD_* variables of the images to this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["detach", "print"])]
    pub(crate) env_file: Option<PathBuf>,
    /// Deploy the manifest's dependencies, also those that are deployed already
    #[arg(long)]
    pub(crate) dependencies: bool,
    /// The environment.
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// Others who change it.
    #[command(flatten)]
    pub(crate) turn: TurnArgs,
    /// What is done.
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// What Okteto has.
    #[command(flatten)]
    pub(crate) okteto: OktetoDeployArgs,
}

/// `destroy`.
#[derive(Debug, Args)]
pub(crate) struct DestroyArgs {
    /// Variables.
    #[command(flatten)]
    pub(crate) vars: VarArgs,
    /// Where the commands run.
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Run all commands, whichever of them fail; the last failure counts
    #[arg(long, alias = "force-destroy")]
    pub(crate) force: bool,
    /// The environment.
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// Others who change it.
    #[command(flatten)]
    pub(crate) turn: TurnArgs,
    /// What is done.
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// What Okteto has.
    #[command(flatten)]
    pub(crate) okteto: OktetoDestroyArgs,
}

/// `test`.
#[derive(Debug, Args)]
#[command(mut_arg("vars", |vars| vars.short_alias('v')))]
pub(crate) struct TestArgs {
    /// Tests of the manifest's test section; none: all
    #[arg(value_name = "NAME")]
    pub(crate) tests: Vec<String>,
    /// Variables.
    #[command(flatten)]
    pub(crate) vars: VarArgs,
    /// Take nothing that earlier runs left: tests begin with empty caches, and none is skipped
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Deploy before, as `slipway deploy` does
    #[arg(long, conflicts_with_all = ["detach", "print"])]
    pub(crate) deploy: bool,
    /// The environment.
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// What is done.
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// What Okteto has.
    #[command(flatten)]
    pub(crate) okteto: OktetoTestArgs,
}

/// `deploy-dependency`.
#[derive(Debug, Args)]
pub(crate) struct DependencyArgs {
    /// Which one
    #[arg(value_name = "INDEX")]
    pub(crate) index: usize,
    /// Where it has been cloned
    #[arg(long, value_name = "FOLDER")]
    pub(crate) clone: Option<PathBuf>,
}
