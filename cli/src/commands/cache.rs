//! `slipway cache …`

use anyhow::Result;
use serde::Serialize;
use slipway_proto::v1::{CacheMount, ListCacheMountsRequest, PruneCacheMountsRequest};

use crate::args::CacheCommand;
use crate::client::{LONG_CALL, timed};
use crate::error::ExitStatus;
use crate::output::{self, Table};
use crate::session::Session;
use crate::settings::{Output, Settings};

#[derive(Serialize)]
struct View<'a> {
    repository: Option<&'a str>,
    id: &'a str,
    bytes: u64,
    used: Option<String>,
    in_use: bool,
}

impl<'a> From<&'a CacheMount> for View<'a> {
    fn from(mount: &'a CacheMount) -> Self {
        let CacheMount { repository, id, bytes, used, in_use } = mount;
        let repository = Some(repository.as_str()).filter(|name| !name.is_empty());
        Self { repository, id, bytes: *bytes, used: output::time(used.as_ref()), in_use: *in_use }
    }
}

#[derive(Serialize)]
struct Pruned {
    mounts: u64,
    bytes: u64,
}

/// Lists or removes cache mounts.
pub(crate) async fn run(command: CacheCommand, settings: &Settings) -> Result<ExitStatus> {
    let session = Session::open(settings).await?;
    match command {
        CacheCommand::List { repository } => list(&session, repository.unwrap_or_default(), settings).await?,
        CacheCommand::Prune { repository, older_than, .. } => {
            let (namespace, repository) = (session.namespace.clone(), repository.unwrap_or_default());
            let unused_for_s = older_than.unwrap_or_default().as_secs();
            let request = PruneCacheMountsRequest { namespace, repository, unused_for_s };
            let pruned = session.client.builds().prune_cache_mounts(timed(request, LONG_CALL)).await;
            let pruned = pruned.map_err(|status| session.client.error(&status))?.into_inner();
            warn_of(pruned.engines_away, "what they have may still be there");
            let (mounts, bytes) = (pruned.mounts, pruned.bytes);
            match settings.output {
                Output::Json => output::print_json(&Pruned { mounts, bytes })?,
                Output::Plain => output::print(format_args!("{mounts} removed, {}\n", output::size(bytes)))?,
            }
        }
    }
    Ok(ExitStatus::Done)
}

fn warn_of(away: u32, what: &str) {
    if away > 0 {
        output::warn(format_args!("{away} of the service's engines did not answer: {what}"));
    }
}

async fn list(session: &Session, repository: String, settings: &Settings) -> Result<()> {
    let request = ListCacheMountsRequest { namespace: session.namespace.clone(), repository };
    let answer = session.client.builds().list_cache_mounts(timed(request, LONG_CALL)).await;
    let answer = answer.map_err(|status| session.client.error(&status))?.into_inner();
    warn_of(answer.engines_away, "what they have is not here");
    let mounts = answer.mounts;
    let mut table = Table::new(["REPOSITORY", "ID", "SIZE", "USED"]);
    for mount in &mounts {
        let view = View::from(mount);
        if settings.output == Output::Json {
            output::print_json(&view)?;
        }
        let used = if view.in_use { Some("now".to_owned()) } else { view.used };
        let repository = view.repository.unwrap_or("?").to_owned();
        table.row([repository, view.id.escape_debug().to_string(), output::size(view.bytes), used.unwrap_or_default()]);
    }
    if settings.output == Output::Plain {
        output::print(table)?;
    }
    Ok(())
}
