//! Flags, environment and context file, resolved once, in this order: flag, `SLIPWAY_*`, `OKTETO_*`, context file.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use anyhow::Result;
use secrecy::SecretString;

use crate::args::{GlobalArgs, OutputArg};
use crate::contexts::{Contexts, ContextsError};
use crate::environment::{self, Environment};
use crate::error::Usage;

/// A service's address: `http(s)://host[:port]`, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl(String);

impl ServerUrl {
    /// Parses what a person wrote; a missing scheme means https, and http on this machine.
    pub(crate) fn parse(text: &str) -> Result<Self, Usage> {
        let bad = |why: &str| Usage::new(format!("`{text}` is not a service's URL: {why}"));
        let (scheme, rest) = match text.trim().split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None if ["localhost", "127.", "[::1]"].iter().any(|local| text.trim().starts_with(local)) => {
                ("http", text.trim())
            }
            None => ("https", text.trim()),
        };
        let url = format!("{scheme}://{}", rest.trim_end_matches('/'));
        let uri: http::Uri = url.parse().map_err(|error| bad(&format!("{error}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(bad("it has to start with http:// or https://"));
        }
        let authority =
            uri.authority().filter(|authority| !authority.host().is_empty()).ok_or_else(|| bad("no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("a token goes into SLIPWAY_TOKEN, not into the URL"));
        }
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(bad("nothing can follow the host and port"));
        }
        Ok(Self(url))
    }

    /// The URL in its parts.
    pub(crate) fn uri(&self) -> http::Uri {
        // It was parsed before; a URL that is none has no proxy on its way.
        self.0.parse().unwrap_or_default()
    }

    /// The URL.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token, without the line end that files and pipes add.
pub(crate) fn secret(token: &str) -> SecretString {
    SecretString::from(token.trim())
}

/// How to show a job's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Lines of text.
    Plain,
    /// What goes on now, on a terminal, below what has been done.
    Tty,
    /// Only the images.
    Quiet,
    /// JSON lines.
    Json,
}

/// How to show results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Text.
    Plain,
    /// JSON lines.
    Json,
}

/// What every command works with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The service, where one is named.
    pub(crate) server: Option<ServerUrl>,
    /// The token, where there is one.
    pub(crate) token: Option<SecretString>,
    /// The namespace, where one is named.
    pub(crate) namespace: Option<String>,
    /// Namespaces named by flags, all of them: `token create` takes several.
    pub(crate) namespaces: Vec<String>,
    /// The manifest, where one is named.
    pub(crate) file: Option<PathBuf>,
    /// It was named on the command line.
    pub(crate) file_flag: bool,
    /// How to show results.
    pub(crate) output: Output,
    /// How to show a job's events.
    pub(crate) show: Show,
    /// Whether a bar on a terminal is welcome.
    pub(crate) bar: bool,
    /// Whether contexts are narrowed to what their Dockerfiles use.
    pub(crate) narrow: bool,
    /// The filter for slipway's own log.
    pub(crate) log_level: String,
    /// The environment that all this came from.
    pub(crate) environment: Environment,
}

impl Settings {
    /// Resolves everything.
    pub(crate) fn resolve(args: GlobalArgs, environment: Environment) -> Result<Self> {
        let contexts = load_contexts(&args, &environment)?;
        let first = |flag: Option<String>, names: &[&str]| {
            flag.or_else(|| names.iter().find_map(|name| environment.get(name)).map(str::to_owned))
        };
        let server = first(args.server, &[environment::SLIPWAY_SERVER, environment::OKTETO_CONTEXT]);
        let named = server.as_deref().map(ServerUrl::parse).transpose()?;
        // The token and the namespace of a context go to that context's server and to no other.
        let context = match &named {
            Some(url) => contexts.find(url.as_str()),
            None => contexts.current(),
        };
        let server = match (named, context) {
            (Some(url), _) => Some(url),
            (None, Some(context)) => Some(ServerUrl::parse(&context.server)?),
            (None, None) => None,
        };
        let token = first(args.token, &[environment::SLIPWAY_TOKEN, environment::OKTETO_TOKEN])
            .or_else(|| context.map(|context| context.token.clone()));
        let namespace =
            first(args.namespaces.last().cloned(), &[environment::SLIPWAY_NAMESPACE, environment::OKTETO_NAMESPACE])
                .or_else(|| context.and_then(|context| context.namespace.clone()));
        let output = match args.output {
            Some(output) => output,
            None => output_from(environment.get(environment::SLIPWAY_OUTPUT))?,
        };
        let redraw = environment.can_redraw() && io::stderr().is_terminal();
        Ok(Self {
            server,
            token: token.as_deref().map(secret),
            namespace,
            namespaces: args.namespaces,
            file_flag: args.file.is_some(),
            file: args.file.or_else(|| environment.get(environment::SLIPWAY_FILE).map(PathBuf::from)),
            output: if output == OutputArg::Json { Output::Json } else { Output::Plain },
            show: match output {
                OutputArg::Json => Show::Json,
                OutputArg::Quiet => Show::Quiet,
                OutputArg::Tty if redraw => Show::Tty,
                // Lines that go elsewhere would lack what is only drawn.
                OutputArg::Auto if redraw && io::stdout().is_terminal() => Show::Tty,
                OutputArg::Auto | OutputArg::Tty | OutputArg::Plain => Show::Plain,
            },
            bar: matches!(output, OutputArg::Auto | OutputArg::Tty) && redraw,
            narrow: narrow_from(environment.get(environment::SLIPWAY_NARROW))?,
            log_level: first(args.log_level, &[environment::SLIPWAY_LOG_LEVEL]).unwrap_or_else(|| "warn".to_owned()),
            environment,
        })
    }

    /// The service, or what to do when none is named.
    pub(crate) fn server(&self) -> Result<&ServerUrl, Usage> {
        self.server.as_ref().ok_or_else(|| {
            Usage::new("no service is configured").hint("`slipway login URL`, or set SLIPWAY_SERVER and SLIPWAY_TOKEN")
        })
    }
}

/// The context file, unless nothing in it can matter: then a broken one is no reason to fail.
fn load_contexts(args: &GlobalArgs, environment: &Environment) -> Result<Contexts, ContextsError> {
    let named = |flag: bool, names: [&str; 2]| flag || names.iter().any(|name| environment.get(name).is_some());
    let complete = named(args.server.is_some(), [environment::SLIPWAY_SERVER, environment::OKTETO_CONTEXT])
        && named(args.token.is_some(), [environment::SLIPWAY_TOKEN, environment::OKTETO_TOKEN])
        && named(!args.namespaces.is_empty(), [environment::SLIPWAY_NAMESPACE, environment::OKTETO_NAMESPACE]);
    if complete { Ok(Contexts::default()) } else { Contexts::load(environment.contexts_file().as_deref()) }
}

fn output_from(value: Option<&str>) -> Result<OutputArg, Usage> {
    let Some(value) = value else { return Ok(OutputArg::Auto) };
    clap::ValueEnum::from_str(value, true).map_err(|_| {
        Usage::new(format!("{}={value}: it is one of auto, tty, plain, quiet, json", environment::SLIPWAY_OUTPUT))
    })
}

fn narrow_from(value: Option<&str>) -> Result<bool, Usage> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("true" | "t" | "1") => Ok(true),
        Some("false" | "f" | "0") => Ok(false),
        Some(_) => {
            let value = value.unwrap_or_default();
            Err(Usage::new(format!("{}={value}: it is true or false", environment::SLIPWAY_NARROW)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::contexts::Context;

    fn contexts(dir: &Path) {
        let context = Context {
            server: "https://c".to_owned(),
            token: "ct".to_owned(),
            user: String::new(),
            namespace: Some("cn".to_owned()),
        };
        let mut contexts = Contexts::default();
        contexts.put(context);
        contexts.save(Some(&dir.join("slipway/contexts.json"))).unwrap();
    }

    fn found(args: GlobalArgs, environment: Environment) -> [Option<String>; 3] {
        let settings = Settings::resolve(args, environment).unwrap();
        let token = settings.token.map(|token| token.expose_secret().to_owned());
        [settings.server.map(|server| server.to_string()), token, settings.namespace]
    }

    #[test]
    fn flags_then_slipway_then_okteto_then_the_file() {
        let dir = tempfile::tempdir().unwrap();
        contexts(dir.path());
        let home = ("XDG_CONFIG_HOME", dir.path().to_str().unwrap());
        let own = |values: [&str; 3]| values.map(|value| Some(value.to_owned()));
        assert_eq!(found(GlobalArgs::default(), [home].into()), own(["https://c", "ct", "cn"]));
        let okteto = [home, ("OKTETO_CONTEXT", "https://o"), ("OKTETO_TOKEN", "ot"), ("OKTETO_NAMESPACE", "on")];
        assert_eq!(found(GlobalArgs::default(), okteto.into()), own(["https://o", "ot", "on"]));
        let both =
            [okteto[0], okteto[1], okteto[2], okteto[3], ("SLIPWAY_SERVER", "https://s/"), ("SLIPWAY_TOKEN", "st")];
        assert_eq!(found(GlobalArgs::default(), both.into()), own(["https://s", "st", "on"]));
        let flags =
            GlobalArgs { server: Some("http://f".to_owned()), token: Some("ft".to_owned()), ..Default::default() };
        assert_eq!(found(flags, both.into()), own(["http://f", "ft", "on"]));
    }

    #[test]
    fn a_token_goes_to_its_own_server_only() {
        let dir = tempfile::tempdir().unwrap();
        contexts(dir.path());
        let home = ("XDG_CONFIG_HOME", dir.path().to_str().unwrap());
        let other = found(GlobalArgs::default(), [home, ("SLIPWAY_SERVER", "https://other")].into());
        assert_eq!(other, [Some("https://other".to_owned()), None, None]);
        let same = found(GlobalArgs::default(), [home, ("SLIPWAY_SERVER", "https://c/")].into());
        assert_eq!(same[1].as_deref(), Some("ct"));
    }

    #[test]
    fn narrowing_can_be_turned_off() {
        let narrow = |value| {
            let settings = Settings::resolve(GlobalArgs::default(), [("SLIPWAY_NARROW", value)].into());
            settings.ok().map(|settings| settings.narrow)
        };
        assert_eq!(["", "true", "1"].map(narrow), [Some(true); 3]);
        assert_eq!(["false", "False", "0"].map(narrow), [Some(false); 3]);
        assert_eq!(narrow("maybe"), None);
    }

    #[test]
    fn urls() {
        let url = |text: &str| ServerUrl::parse(text).map(|url| url.to_string()).ok();
        assert_eq!(url("http://a:7700/").as_deref(), Some("http://a:7700"));
        assert_eq!(url("slipway.example").as_deref(), Some("https://slipway.example"));
        assert_eq!(url("localhost:7700").as_deref(), Some("http://localhost:7700"));
        for bad in ["", "ftp://a", "http://a/x", "http://t@a", "http://a b", "http://"] {
            assert_eq!(url(bad), None, "{bad}");
        }
    }
}
