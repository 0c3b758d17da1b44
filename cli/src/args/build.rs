//! `build`.

use std::path::PathBuf;

use clap::Args;

use super::{OktetoBuildArgs, OptionArgs, VarArgs};

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
