//! `slipwayd run-job DIR`: the process of one job. It needs nothing of the service while it runs.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::Uri;
use http::uri::Authority;
use slipway_commands::NOT_ALL_MASKED;
use slipway_proto::v1::event::Kind;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::buildkit::Pool;
use crate::config::Config;
use crate::jobs::spec::{JobDir, JobSpec};
use crate::jobs::state::JobState;
use crate::jobs::{exports, job_done, process};
use crate::pipeline::Pipeline;
use crate::pipeline::cache_scope::CacheScope;
use crate::pipeline::engines::Engines;
use crate::pipeline::events::Events;
use crate::pipeline::keeping::Keeping;
use crate::pipeline::logins;
use crate::pipeline::looking::Looking;
use crate::pipeline::secrets::Secrets;
use crate::pipeline::variables::{Hidden, JobVariables};
use crate::process_log::ProcessLog;
use crate::registry::{Logins, Registry};
use crate::runner::network;
use crate::seal::Key;
use crate::store::Blobs;
use crate::store::db::jobs::JobFailure;

/// Runs the job of this folder, whose lock is our standard input, and writes down how it ended.
pub async fn run(config: &Config, dir: JobDir, log: &ProcessLog) -> anyhow::Result<()> {
    // First of all, so that a request to end that comes from now on is heard.
    let mut terminate = signal(SignalKind::terminate())?;
    process::register(&dir)?;
    let cancel = CancellationToken::new();
    if process::is_cancelled(&dir) {
        cancel.cancel();
    }
    let (asked, asked_grace) = watch::channel(process::asked_grace(&dir));
    let (cancelled, looking) = (cancel.clone(), dir.clone());
    let waiting = tokio::spawn(async move {
        // More than once: whoever asks again may want to wait less.
        while terminate.recv().await.is_some() {
            let grace = process::asked_grace(&looking);
            asked.send_if_modified(|known| std::mem::replace(known, grace) != grace);
            cancelled.cancel();
        }
    });
    let key = Key::open(&config.data_dir)?;
    let spec = dir.spec(&key)?;
    let events = Events::open(&dir.events(), spec.job, cancel.clone())?;
    let registry = Arc::new(Registry::open_for_job(&config.registry, &config.data_dir)?);
    let looking = Looking::new(config, registry.clone());
    let runner_image = config.runner.image();
    let secrets = match dir.secrets()? {
        Some(sealed) => Secrets::unseal(&sealed, &key, spec.job)?,
        None => Secrets::default(),
    };
    let logins = match dir.logins()? {
        Some(sealed) => logins::unseal(&sealed, &key, spec.job)?,
        None => Logins::default(),
    };
    let variables = match dir.variables()? {
        Some(sealed) => JobVariables::unseal(&sealed, &key, spec.job)?,
        None => JobVariables::default(),
    };
    let token = dir.token()?;
    let keeping = Keeping::open(&dir, &spec, &config.data_dir)?;
    let hidden = Hidden {
        secrets: &secrets,
        logins: &logins,
        variables: &variables,
        token: Some(&token),
        keeping: Some(&keeping),
    };
    let masks = hidden.masks(&spec.plan, &spec.namespace, &spec.owner);
    if masks.is_blind() {
        let message = "secret values can't be masked in what the job prints: nothing was run".to_owned();
        let failure = JobFailure { code: "internal".to_owned(), message, hint: None };
        events.emit(Kind::JobDone(job_done(JobState::Failed, Some(failure))));
        return Ok(());
    }
    let events = events.masking(masks);
    log.mask_as(&events);
    if events.masks().gaps().plain > 0 {
        events.warn(NOT_ALL_MASKED.to_owned());
    }
    let network = network(config, &registry, &spec);
    let pipeline = Pipeline {
        blobs: Blobs::open(&config.data_dir, &spec.namespace)?,
        forwards: forwards(&[&config.public_url(), registry.host().as_str()]),
        registry,
        looking,
        engines: Engines::new(Pool::new(config.engines(), config.data_dir.join("engines"))),
        max_builds: config.jobs.max_builds,
        frontends: config.jobs.frontends,
        external_caches: config.jobs.external_caches,
        cache_hosts: config.jobs.cache_hosts.clone(),
        locks: config.data_dir.join("locks"),
        cache_scope: CacheScope::open(&config.data_dir)?,
        secrets,
        logins,
        keeping,
        variables,
        data_dir: config.data_dir.clone(),
        exports: exports::dir(&config.data_dir, spec.job),
        max_export_bytes: config.jobs.max_export_bytes,
        max_artifact_bytes: config.jobs.max_artifact_bytes,
        asked_grace,
        max_tests: config.jobs.max_tests.max(1),
        clipped: AtomicBool::default(),
        events: events.clone(),
        runner_image,
        agent: config.runner.agent().ok_or_else(|| anyhow::anyhow!("runner.agent is not set"))?,
        limits: config.limits.of(&spec.namespace),
        network,
        access: config.runner.access.clone(),
        public_url: config.public_url(),
        token,
        cancel,
        spec,
    };
    let result = Box::pin(pipeline.run()).await;
    waiting.abort();
    let (state, failure) = match result {
        Ok(()) => (JobState::Succeeded, None),
        Err(failure) => {
            tracing::info!(job.id = %pipeline.spec.job, error = %failure, "job {} did not succeed", pipeline.spec.job);
            failure.end()
        }
    };
    if let Some(error) = events.lost() {
        anyhow::bail!("the event log can't be written: {error}");
    }
    events.emit(Kind::JobDone(job_done(state, failure)));
    Ok(())
}

/// Where the job's commands may connect to; the service and its registry always are.
fn network(config: &Config, registry: &Registry, spec: &JobSpec) -> network::Rules {
    let host = registry.host();
    let own = own_places(&config.public_url(), host.api_host(), registry.plain_http().contains(host));
    config.runner.network.of(&spec.namespace, own)
}

/// Hosts and ports of the service and of its registry.
fn own_places(url: &str, registry: &str, plain: bool) -> Vec<(String, u16)> {
    let service = url.parse::<Uri>().ok().and_then(|uri| {
        let port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(port)))
    });
    let port = if plain { 80 } else { 443 };
    let registry = registry.parse::<Authority>().ok();
    let registry = registry.map(|host| (host.host().to_owned(), host.port_u16().unwrap_or(port)));
    service.into_iter().chain(registry).collect()
}

/// The loopback addresses among these (URLs or `host:port`), by port: inside the runner they lead nowhere by themselves.
fn forwards(places: &[&str]) -> BTreeMap<u16, SocketAddr> {
    let mut found = BTreeMap::new();
    for place in places {
        let authority = place.split_once("://").map_or(*place, |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        let loopback =
            authority.to_socket_addrs().ok().and_then(|mut all| all.find(|address| address.ip().is_loopback()));
        found.extend(loopback.map(|address| (address.port(), address)));
    }
    found
}

/// The folder on the command line.
pub fn job_dir(path: &Path) -> anyhow::Result<JobDir> {
    JobDir::existing(path).ok_or_else(|| anyhow::anyhow!("{} is no job's folder", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{forwards, own_places};

    #[test]
    fn the_service_and_its_registry_have_the_ports_of_their_schemes() {
        for (url, registry, plain, expected) in [
            ("https://a.example", "r.example", false, [("a.example", 443), ("r.example", 443)]),
            ("http://a.example", "r.example", true, [("a.example", 80), ("r.example", 80)]),
            ("https://a.example:7700/", "r.example:5000", true, [("a.example", 7700), ("r.example", 5000)]),
            ("http://[::1]:7700", "[::1]:7701", false, [("[::1]", 7700), ("[::1]", 7701)]),
        ] {
            let found = own_places(url, registry, plain);
            assert_eq!(found, expected.map(|(host, port)| (host.to_owned(), port)), "{url}");
        }
    }

    #[test]
    fn only_loopback_is_forwarded() {
        let found = forwards(&["http://127.0.0.1:7700", "localhost:7701", "10.0.0.1:80", "nonsense"]);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [7700, 7701]);
    }
}
