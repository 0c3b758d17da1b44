//! Wiring: components, services, listener. Nothing is decided here.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::buildkit::{Engine, Pool};
use crate::config::Config;
use crate::environments::Environments;
use crate::jobs::Jobs;
use crate::pipeline::cache_mounts::CacheMounts;
use crate::pipeline::cache_scope::CacheScope;
use crate::pipeline::looking::Looking;
use crate::registry::{self, ManagedRegistry, Registry};
use crate::stop::Stop;
use crate::store::Db;
use crate::store::db::tenants::Token;
use crate::variables::Variables;
use crate::{api, auth, http, store};

/// HTTP/2 windows for a sync over a long and fat link: of one call, and of a connection.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Largest HTTP/2 frame that we take: a frame of the sync in one piece, and it costs one system call instead of sixteen.
const FRAME: u32 = 512 << 10;
/// How often we look for an engine that is away.
const ENGINE_AGAIN: Duration = Duration::from_secs(1);
/// How long open connections may go on after a stop signal.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until it is told to stop, and until the jobs that run have ended or `jobs.drain_s` is over.
pub async fn run(
    config: Config,
    dev: bool,
    process_args: Vec<OsString>,
    listener: TcpListener,
    stop: Stop,
) -> anyhow::Result<()> {
    // What we write is nobody else's, whatever the data directory's own mode is.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let data_dir = &config.data_dir;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .with_context(|| format!("make {}", data_dir.display()))?;
    let _only = lock(data_dir)?;
    // Made here, so that a damaged one is a service that does not start, and not jobs that fail.
    CacheScope::open(data_dir).context("read the key that keeps namespaces' caches apart")?;
    store::recover::recover(data_dir).with_context(|| format!("look through {}/blobs", data_dir.display()))?;
    let db = Db::open(data_dir).await?;
    let registry = Arc::new(Registry::open(&config.registry, data_dir)?);
    first_start(&db, data_dir, dev, &registry).await?;
    let looking = Looking::new(&config, registry.clone());
    let (jobs, store) = (config.jobs.clone(), config.store.clone());
    let jobs = Jobs::new(db.clone(), data_dir.clone(), jobs, store, looking.clone(), process_args, stop.clone());

    jobs.sweep().await?;

    // The listener and the registry stay until the last job that we wait for has ended.
    let shutdown = CancellationToken::new();
    let (ready, is_ready) = watch::channel(false);
    let pool = Arc::new(Pool::new(config.engines(), data_dir.join("engines")));
    let state = api::State {
        db: db.clone(),
        jobs: jobs.clone(),
        registry: registry.clone(),
        pool: pool.clone(),
        mounts: CacheMounts::new(pool.clone(), data_dir),
        environments: Environments::open(db.clone(), data_dir).context("read the key of environments")?,
        variables: Variables::open(db.clone(), data_dir).context("read the key of variables")?,
    };
    let app = http::routes(http::Shared { db, registry: registry.clone(), ready: is_ready }).merge(api::routes(state)?);
    let serving = tokio::spawn(serve(listener, app, shutdown.clone()));
    tracing::info!(listen = %config.listen, data_dir = %data_dir.display(), "slipwayd listens on {}", config.listen);

    // From here on we answer, if only to say that we are not ready: the registry asks us for tokens.
    let working = async {
        let managed = start_registry(&config, shutdown.clone()).await?;
        // Jobs of an earlier service are followed whether or not the engine is there.
        let preparing = async {
            prepare(&config, &registry, &looking).await?;
            ready.send_replace(true);
            tracing::info!("ready");
            std::future::pending::<anyhow::Result<()>>().await
        };
        let result = tokio::select! {
            result = jobs.run() => result.map_err(anyhow::Error::from),
            result = preparing => result,
            () = jobs.clean_regularly() => Ok(()),
            () = pool.look_after() => Ok(()),
            result = jobs.pass_agents_on() => result.context("pass SSH agents on"),
        };
        Ok((managed, result))
    };
    let worked: anyhow::Result<_> = tokio::select! {
        worked = working => worked,
        () = stop.now.cancelled() => Ok((None, Ok(()))),
    };
    shutdown.cancel();
    serving.await?;
    let (managed, result) = worked?;
    if let Some(managed) = managed {
        managed.stopped().await;
    }
    result
}

async fn start_registry(config: &Config, shutdown: CancellationToken) -> anyhow::Result<Option<ManagedRegistry>> {
    Ok(match config.registry.kind {
        registry::Kind::Managed => {
            let realm = format!("{}/token", config.public_url());
            Some(ManagedRegistry::start(&config.registry, &config.data_dir, &realm, shutdown).await?)
        }
        registry::Kind::External => None,
    })
}

/// What has to be there before a job can run. Waits while all engines are away; fails if none can be used.
async fn prepare(config: &Config, registry: &Registry, looking: &Looking) -> anyhow::Result<()> {
    let engines = config.engines();
    let mut told = false;
    let engine = loop {
        let (mut found, mut away, mut unusable) = (None, Vec::new(), None);
        for connected in futures::future::join_all(engines.iter().map(Engine::connect)).await {
            match connected {
                Ok(engine) => drop(found.get_or_insert(engine)),
                Err(error) if error.is_transient() => away.push(error),
                Err(error) => drop(unusable.get_or_insert(error)),
            }
        }
        match (found, unusable) {
            (Some(engine), _) => break engine,
            (None, Some(error)) if away.is_empty() => return Err(error.into()),
            _ => {}
        }
        if !std::mem::replace(&mut told, true) {
            for error in away {
                tracing::warn!(%error, "waiting for the engine");
            }
        }
        tokio::time::sleep(ENGINE_AGAIN).await;
    };
    tracing::info!(engine = %engine.address(), "engine {} answers", engine.address());
    // From now on builds can be skipped while it is away.
    looking.saw(&engine);
    if let Err(error) = looking.bases().await {
        tracing::warn!(%error, "can't look at base images");
    }
    let image = registry.image_ref(registry.global_namespace(), &config.runner.image())?;
    if let Err(error) = registry.ensure_runner_image(&image, config.runner.archive().as_deref()).await {
        // Builds do without it.
        tracing::warn!(error = %format!("{:#}", anyhow::Error::from(error)), "no runner image: commands without an `image` will fail");
    }
    Ok(())
}

/// One service for one data directory.
fn lock(data_dir: &Path) -> anyhow::Result<fs::File> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(data_dir.join("slipwayd.lock"))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => anyhow::bail!("another slipwayd uses {} (set `data_dir` to another folder)", data_dir.display()),
    }
}

/// The first token, and with `--dev` the first namespace.
async fn first_start(db: &Db, data_dir: &Path, dev: bool, registry: &Registry) -> anyhow::Result<()> {
    db.create_namespace(registry.global_namespace()).await?;
    if dev {
        db.create_namespace(&"dev".parse()?).await?;
    }
    if db.tokens().await?.iter().any(|token| token.admin) {
        return Ok(());
    }
    let path = data_dir.join("admin.token");
    let (token, secret): (Token, String) = auth::new_token("admin", true, Vec::new());
    // One that is there was written by a service that did not get any further.
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    db.add_token(&token, &secret).await?;
    tracing::info!(path = %path.display(), "wrote the first admin's token to {}", path.display());
    Ok(())
}

async fn serve(listener: TcpListener, app: axum::Router, shutdown: CancellationToken) {
    let tracker = TaskTracker::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(256)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .timer(hyper_util::rt::TokioTimer::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (builder, service, stop) = (builder.clone(), TowerToHyperService::new(app.clone()), shutdown.clone());
        tracker.spawn(async move {
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let ended = tokio::select! {
                result = connection.as_mut() => result,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    match tokio::time::timeout(GRACE, connection).await {
                        Ok(result) => result,
                        Err(_) => Ok(()),
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error = %error, "a connection ended badly");
            }
        });
    }
    drop(listener);
    tracker.close();
    tracker.wait().await;
}
