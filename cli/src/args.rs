//! The command line, as clap reads it. Nothing here looks at the environment: `settings.rs` does, once.

#![expect(
    clippy::doc_markdown,
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "these comments are the help text, and these fields the flags"
)]

use clap::{Parser, Subcommand};

mod build;
mod build_options;
mod context;
mod global;
mod job_options;
mod kept;
mod okteto;
mod sections;
mod show;

pub(crate) use build::BuildArgs;
pub(crate) use build_options::OptionArgs;
pub(crate) use context::{ContextArgs, ContextCommand, LoginArgs};
pub(crate) use global::{GlobalArgs, OutputArg};
pub(crate) use job_options::{JobArgs, NameArgs, PlaceArgs, TurnArgs, VarArgs};
pub(crate) use kept::{
    CacheCommand, EngineCommand, EnvironmentCommand, ImageCommand, JobCommand, NamespaceArgs, NamespaceCommand,
    ScopeArg, TokenCommand, VariableCommand,
};
pub(crate) use okteto::{
    OktetoBuildArgs, OktetoCommand, OktetoDeployArgs, OktetoDestroyArgs, OktetoTestArgs, RegistryTokenCommand,
};
pub(crate) use sections::{DependencyArgs, DeployArgs, DestroyArgs, TestArgs};
pub(crate) use show::{EnvArgs, EnvFormat, FilesArgs};

/// Build images and run deploy commands on a Slipway service, from an okteto.yaml.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, propagate_version = false, max_term_width = 100, subcommand_required = true)]
#[command(
    after_help = "Exit status: 0 done; 1 the job failed; 2 bad usage or manifest; 3 the service can't be reached or \
                        refuses; 130 interrupted."
)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Makes of Okteto's flags what they are here: `--log-output` and `--progress` are `--output`, and a context that comes with a
    /// token is logged in to.
    pub(crate) fn take_oktetos_flags(&mut self) {
        let global = &mut self.global;
        global.output = global.output.or(global.log_output);
        if let Command::Build(build) = &self.command {
            global.output = global.output.or(build.okteto.progress);
        }
        if let Command::Context(ContextArgs { short_token, command, .. }) = &mut self.command {
            let of_use = match command {
                Some(ContextCommand::Use { short_token, .. }) => short_token.take(),
                _ => None,
            };
            global.token = global.token.take().or(short_token.take()).or(of_use);
        }
        if let Command::Context(ContextArgs { url, command, .. }) = &mut self.command
            && global.token.is_some()
        {
            let used = match command.take() {
                Some(ContextCommand::Use { url, .. }) => Some(url),
                other => {
                    *command = other;
                    url.take()
                }
            };
            if let Some(url) = used {
                self.command = Command::Login(LoginArgs { url });
            }
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Remember a service and a token for it
    Login(LoginArgs),
    /// Services that you have logged in to
    #[command(alias = "ctx")]
    Context(ContextArgs),
    /// Build the manifest's images, and what they depend on
    Build(Box<BuildArgs>),
    /// Build the images that are missing, then run the deploy commands
    Deploy(DeployArgs),
    /// Run the destroy commands
    Destroy(DestroyArgs),
    /// Run tests on the service, and before them those that they depend on
    Test(TestArgs),
    /// List what would be sent, one path a line (works offline)
    Files(FilesArgs),
    /// Print the environment's variables: OKTETO_BUILD_* of the images as they are now, and what deploy commands left in
    /// $OKTETO_ENV
    Env(EnvArgs),
    /// Environments: what was deployed in the namespace, and what it left behind
    #[command(subcommand)]
    Environment(EnvironmentCommand),
    /// Images in the namespace's registry
    #[command(subcommand)]
    Image(ImageCommand),
    /// Namespaces
    #[command(alias = "ns")]
    Namespace(NamespaceArgs),
    /// Folders that RUN steps keep from build to build (--mount=type=cache)
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Variables that the service keeps
    #[command(subcommand)]
    Variable(VariableCommand),
    /// Tokens, for admins
    #[command(subcommand)]
    Token(TokenCommand),
    /// Engines, for admins
    #[command(subcommand)]
    Engine(EngineCommand),
    /// Jobs: they belong to the service and go on without a client
    #[command(subcommand)]
    Job(JobCommand),
    /// Check a manifest
    Validate,
    /// Print the version, and the service's where one is configured
    Version,
    /// What `slipway` starts to run commands on this machine
    #[command(name = "run-agent", hide = true)]
    RunAgent,
    /// What the service runs for each dependency of a manifest
    #[command(name = "deploy-dependency", hide = true)]
    DeployDependency(DependencyArgs),
    /// What only Okteto has.
    #[command(flatten)]
    Okteto(OktetoCommand),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_go_anywhere() {
        let cli =
            Cli::try_parse_from(["slipway", "--token", "t", "token", "create", "--user", "u", "-n", "a", "-n", "b"]);
        let global = cli.unwrap().global;
        assert_eq!((global.token.as_deref(), global.namespaces), (Some("t"), vec!["a".to_owned(), "b".to_owned()]));
    }
}
