//! `slipway login`

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::{Context as _, Result};
use secrecy::{ExposeSecret as _, SecretString};

use crate::args::LoginArgs;
use crate::client::Client;
use crate::contexts::{Context, Contexts};
use crate::error::{ExitStatus, Usage};
use crate::output;
use crate::settings::{ServerUrl, Settings, secret};

/// No token is longer; whoever pipes a file by mistake should not wait for all of it.
const LONGEST_TOKEN: u64 = 64 << 10;

/// Checks a server and a token, and remembers both.
pub(crate) async fn run(args: &LoginArgs, settings: &Settings) -> Result<ExitStatus> {
    let server = ServerUrl::parse(&args.url)?;
    let mut settings = settings.clone();
    if settings.token.is_none() {
        settings.token = Some(token_from_stdin()?);
    }
    let caller = Client::connect(&settings).await?.who_am_i().await?;
    let path = settings.environment.contexts_file();
    let mut contexts = Contexts::load(path.as_deref())?;
    // The flag only: a namespace of this shell's environment is not what the next shell should find.
    let namespace = settings.namespaces.last().cloned();
    let namespace = namespace.or_else(|| contexts.find(server.as_str())?.namespace.clone());
    let token = settings.token.as_ref().map(|token| token.expose_secret().to_owned()).unwrap_or_default();
    contexts.put(Context { server: server.to_string(), token, user: caller.user.clone(), namespace });
    contexts.save(path.as_deref())?;
    let rights = match (caller.admin, caller.namespaces.as_slice()) {
        (true, _) => "an admin".to_owned(),
        (false, []) => "no namespace".to_owned(),
        (false, namespaces) => format!("namespaces {}", namespaces.join(", ")),
    };
    output::note(format_args!("logged in to {server} as {} ({rights})", caller.user));
    Ok(ExitStatus::Done)
}

fn token_from_stdin() -> Result<SecretString> {
    let missing =
        || Usage::new("no token").hint("set SLIPWAY_TOKEN, or pipe the token in: `slipway login URL < token`");
    if io::stdin().is_terminal() {
        return Err(missing().into());
    }
    let mut text = String::new();
    io::stdin().take(LONGEST_TOKEN).read_to_string(&mut text).context("read the token from standard input")?;
    let token = secret(&text);
    if token.expose_secret().is_empty() { Err(missing().into()) } else { Ok(token) }
}
