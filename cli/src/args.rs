//! The command line, as clap reads it. Nothing here looks at the environment: `settings.rs` does, once.

#![expect(
    clippy::doc_markdown,
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "these comments are the help text, and these fields the flags"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use slipway_commands::MAX_GRACE;
use slipway_manifest::options::OptionKey;

mod kept;
mod okteto;

pub(crate) use kept::{
    CacheCommand, EngineCommand, EnvironmentCommand, ImageCommand, JobCommand, NamespaceArgs, NamespaceCommand,
    ScopeArg, TokenCommand, VariableCommand,
};
pub(crate) use okteto::{
    OktetoBuildArgs, OktetoCommand, OktetoDeployArgs, OktetoDestroyArgs, OktetoTestArgs, RegistryTokenCommand,
};

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

/// Options that go into the manifest's expansion.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct VarArgs {
    /// Set a variable for the manifest's expansion and for commands (repeatable)
    #[arg(long = "var", value_name = "K=V")]
    pub(crate) vars: Vec<String>,
}

/// `build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Services of the manifest's build section; none: all. With -t: the folder to build, without a manifest [default: .]
    #[arg(value_name = "SERVICE|PATH")]
    pub(crate) services: Vec<String>,
    /// Build one image without a manifest, and give it this name, such as okteto.dev/app:1 (repeatable)
    #[arg(short = 't', long = "tag", value_name = "REF")]
    pub(crate) tags: Vec<String>,
    /// With -t: the Dockerfile, or - for standard input [default: PATH/Dockerfile]
    #[arg(long, value_name = "FILE", requires = "tags")]
    pub(crate) dockerfile: Option<PathBuf>,
    /// Variables.
    #[command(flatten)]
    pub(crate) vars: VarArgs,
    /// Set a build argument of every service built; without `=V`, to its value in the environment (repeatable)
    #[arg(long = "build-arg", value_name = "K[=V]")]
    pub(crate) build_args: Vec<String>,
    /// Give a secret to RUN steps that mount it: a file, a variable here, or (variable=) one that the service keeps; without these
    /// the variable of the id's name, else the file. With rotates=true another value builds nothing anew (repeatable)
    #[arg(long = "secret", value_name = "id=ID[,src=PATH|,env=NAME|,variable=NAME]")]
    pub(crate) secrets: Vec<String>,
    /// Give an SSH agent to RUN steps that mount it: the one in SSH_AUTH_SOCK, the one with this socket, one with these private
    /// keys, or one with the key in a variable that the service keeps (repeatable)
    #[arg(long = "ssh", value_name = "ID[=SOCKET|=KEY[,KEY]|=variable:NAME]")]
    pub(crate) ssh: Vec<String>,
    /// The stage to build, instead of the manifest's, of every service built
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Build for these platforms, such as linux/amd64,linux/arm64: one image with all of them [default: the engine's own]
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,
    /// Run every step again
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Write the OKTETO_BUILD_* variables of the images to this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["detach", "print"])]
    pub(crate) env_file: Option<PathBuf>,
    /// Write what is known of the images to this file, as JSON by service: digests, descriptors and names, under the keys
    /// that docker buildx uses
    #[arg(long, value_name = "FILE", conflicts_with_all = ["detach", "print"])]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Push the images. With --push=false only those are pushed that other services use
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) push: Option<bool>,
    /// Bring the images into the local Docker (with the docker command)
    #[arg(long, conflicts_with_all = ["detach", "print"])]
    pub(crate) load: bool,
    /// Build nothing: print the plan as JSON
    #[arg(long, conflicts_with = "detach")]
    pub(crate) print: bool,
    /// Build nothing: say what changed since each service was built last, and which steps that makes run again
    #[arg(long, conflicts_with_all = ["detach", "print", "tags", "env_file", "metadata_file", "load"])]
    pub(crate) explain: bool,
    /// Print the job's id once the service has everything, and leave
    #[arg(long)]
    pub(crate) detach: bool,
    /// What Okteto has.
    #[command(flatten)]
    pub(crate) okteto: OktetoBuildArgs,
    /// Options for BuildKit. Last, since what comes after it would be among them in the help.
    #[command(flatten)]
    pub(crate) options: OptionArgs,
}

/// What `build` hands on to BuildKit, for every service built. The manifest has keys for the same.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options for every service built, on top of the manifest's")]
pub(crate) struct OptionArgs {
    /// Set a label of the image (repeatable)
    #[arg(long = "label", value_name = "K=V")]
    labels: Vec<String>,
    /// Set an annotation, of manifests or of what stands before a colon: manifest, index, manifest-descriptor,
    /// index-descriptor (repeatable)
    #[arg(long = "annotation", value_name = "[LEVEL:]K=V")]
    annotations: Vec<String>,
    /// What the Dockerfile finds under this name instead of an image or a stage: a folder, docker-image://REF, or the URL of a
    /// git repository (repeatable)
    #[arg(long = "build-context", value_name = "NAME=CONTEXT")]
    contexts: Vec<String>,
    /// Add a line to /etc/hosts of RUN steps (repeatable)
    #[arg(long = "add-host", value_name = "HOST=IP")]
    extra_hosts: Vec<String>,
    /// The network of RUN steps: default or none
    #[arg(long, value_name = "MODE")]
    network: Option<String>,
    /// The size of /dev/shm in RUN steps, such as 64m
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Limit processes of RUN steps (repeatable)
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    ulimits: Vec<String>,
    /// Run the steps of these stages again (repeatable)
    #[arg(long = "no-cache-filter", value_name = "STAGE")]
    no_cache_filter: Vec<String>,
    /// Take steps' results from this cache, where the service allows that: type=registry,ref=IMAGE, or an image (repeatable)
    #[arg(long = "cache-from", value_name = "OPTIONS")]
    cache_from: Vec<String>,
    /// Leave steps' results there: type=registry,ref=IMAGE,mode=max, type=inline, or an image (repeatable)
    #[arg(long = "cache-to", value_name = "OPTIONS", alias = "export-cache")]
    cache_to: Vec<String>,
    /// Resolve base images at their registries, whatever the engine has
    #[arg(long)]
    pull: bool,
    /// Add a record of how the image was built: true, false, mode=min (as true), mode=max
    #[arg(long, value_name = "BOOL|OPTIONS")]
    provenance: Option<String>,
    /// Add a bill of materials: true, false, generator=IMAGE
    #[arg(long, value_name = "BOOL|OPTIONS")]
    sbom: Option<String>,
    /// Add an attestation: type=provenance,… or type=sbom,… (repeatable)
    #[arg(long = "attest", value_name = "OPTIONS")]
    attestations: Vec<String>,
    /// The form of the image: type=image,compression=zstd,compression-level=3,force-compression=true,oci-mediatypes=true,
    /// rewrite-timestamp=true. Or what to bring here: type=oci|docker|tar,dest=FILE and type=local,dest=FOLDER, of one service
    /// (repeatable)
    #[arg(long = "export", value_name = "OPTIONS")]
    pub(crate) exports: Vec<String>,
}

impl OptionArgs {
    /// The options that were given, in an order in which later ones count more.
    pub(crate) fn to_pairs(&self) -> Vec<(OptionKey, String)> {
        let pull = self.pull.then(|| "true".to_owned());
        let given: [(OptionKey, Vec<&String>); 14] = [
            (OptionKey::Label, self.labels.iter().collect()),
            (OptionKey::Annotation, self.annotations.iter().collect()),
            (OptionKey::Context, self.contexts.iter().collect()),
            (OptionKey::ExtraHost, self.extra_hosts.iter().collect()),
            (OptionKey::Network, self.network.iter().collect()),
            (OptionKey::ShmSize, self.shm_size.iter().collect()),
            (OptionKey::Ulimit, self.ulimits.iter().collect()),
            (OptionKey::NoCacheFilter, self.no_cache_filter.iter().collect()),
            (OptionKey::CacheFrom, self.cache_from.iter().collect()),
            (OptionKey::CacheTo, self.cache_to.iter().collect()),
            (OptionKey::Pull, pull.iter().collect()),
            (OptionKey::Attest, self.attestations.iter().collect()),
            (OptionKey::Provenance, self.provenance.iter().collect()),
            (OptionKey::Sbom, self.sbom.iter().collect()),
        ];
        given.into_iter().flat_map(|(key, texts)| texts.into_iter().map(move |text| (key, text.clone()))).collect()
    }
}

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

fn grace(text: &str) -> Result<Duration, String> {
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

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

    #[test]
    fn global_options_go_anywhere() {
        let cli =
            Cli::try_parse_from(["slipway", "--token", "t", "token", "create", "--user", "u", "-n", "a", "-n", "b"]);
        let global = cli.unwrap().global;
        assert_eq!((global.token.as_deref(), global.namespaces), (Some("t"), vec!["a".to_owned(), "b".to_owned()]));
    }
}
