//! `slipway context …`

use anyhow::Result;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use crate::args::{ContextArgs, ContextCommand, LoginArgs};
use crate::contexts::Contexts;
use crate::environment;
use crate::error::{ExitStatus, Usage};
use crate::output::{self, Table};
use crate::settings::{Output, ServerUrl, Settings};

#[derive(Serialize)]
struct View<'a> {
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    current: bool,
}

/// Lists, chooses or shows contexts.
pub(crate) async fn run(args: ContextArgs, settings: &Settings) -> Result<ExitStatus> {
    let command = match (args.command, args.url) {
        (Some(command), _) => command,
        (None, Some(url)) => ContextCommand::Use { url, short_token: None },
        (None, None) => ContextCommand::Show,
    };
    let path = settings.environment.contexts_file();
    let mut contexts = Contexts::load(path.as_deref())?;
    match command {
        ContextCommand::List => list(&contexts, settings)?,
        ContextCommand::Use { url, .. } => {
            let Some(index) = position(&contexts, &url) else {
                let parsed = ServerUrl::parse(&url)?;
                let environment = &settings.environment;
                let mut tokens = [environment::SLIPWAY_TOKEN, environment::OKTETO_TOKEN].iter();
                let has_token = tokens.any(|name| environment.get(name).is_some());
                // A token is for the server that is named with it. In a job both are the job's.
                if has_token && settings.server.as_ref().is_none_or(|server| *server == parsed) {
                    let is_named = match settings.namespaces.last() {
                        Some(name) => super::namespace::is_named(name, settings)?,
                        None => true,
                    };
                    if is_named && settings.server.is_some() {
                        output::note(format_args!("{parsed} is in use already"));
                        return Ok(ExitStatus::Done);
                    }
                    let settings = Settings { server: Some(parsed), ..settings.clone() };
                    return super::login::run(&LoginArgs { url }, &settings).await;
                }
                let message = format!("you are not logged in to {url}");
                return Err(Usage::new(message)
                    .hint("`slipway context list` shows where, `slipway login URL` adds one")
                    .into());
            };
            if let Some(context) = contexts.contexts.get_mut(index) {
                contexts.current = Some(context.server.clone());
                if let Some(namespace) = settings.namespaces.last() {
                    context.namespace = Some(namespace.clone());
                }
                output::note(format_args!("using {}", context.server));
            }
            contexts.save(path.as_deref())?;
        }
        ContextCommand::Show => show(&contexts, settings)?,
    }
    Ok(ExitStatus::Done)
}

/// A context by its URL, or by its host where only one has it.
fn position(contexts: &Contexts, name: &str) -> Option<usize> {
    let url = ServerUrl::parse(name).ok();
    let exact =
        contexts.contexts.iter().position(|context| url.as_ref().is_some_and(|url| context.server == url.as_str()));
    exact.or_else(|| {
        let mut found = contexts.contexts.iter().enumerate().filter(|(_, context)| {
            let authority = context.server.split_once("://").map_or("", |(_, authority)| authority);
            authority == name || authority.split(':').next() == Some(name)
        });
        let first = found.next()?.0;
        found.next().is_none().then_some(first)
    })
}

fn list(contexts: &Contexts, settings: &Settings) -> Result<()> {
    let mut table = Table::new(["", "SERVER", "USER", "NAMESPACE"]);
    for context in &contexts.contexts {
        let current = contexts.current.as_deref() == Some(context.server.as_str());
        let namespace = context.namespace.as_deref();
        if settings.output == Output::Json {
            output::print_json(&View { server: &context.server, user: Some(&context.user), namespace, current })?;
        }
        let mark = if current { "*" } else { " " };
        table.row([mark, &context.server, &context.user, namespace.unwrap_or("")].map(str::to_owned));
    }
    if settings.output == Output::Plain {
        output::print(table)?;
    }
    Ok(())
}

fn show(contexts: &Contexts, settings: &Settings) -> Result<()> {
    let server = settings.server()?.as_str();
    let known = contexts.find(server);
    // The file's user is known only as long as the file's token is the one in use.
    let user = known.filter(|known| settings.token.as_ref().is_some_and(|token| token.expose_secret() == known.token));
    let user = user.map(|known| known.user.as_str());
    let current = contexts.current.as_deref() == Some(server);
    let namespace = settings.namespace.as_deref();
    if settings.output == Output::Json {
        output::print_json(&View { server, user, namespace, current })?;
        return Ok(());
    }
    let token = if settings.token.is_some() { "set" } else { "none" };
    output::print(format_args!(
        "server     {server}\nuser       {}\nnamespace  {}\ntoken      {token}\n",
        user.unwrap_or("(not known here)"),
        namespace.unwrap_or("(the service decides)")
    ))?;
    Ok(())
}
