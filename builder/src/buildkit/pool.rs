//! The engines that a daemon may use, and which of them takes a build.
//!
//! The builds of a repository go to the engine that has its cache: each engine has a score for each repository, and the
//! highest one of those that are well and have room wins (rendezvous hashing: an engine that comes or goes moves only its own
//! repositories). Jobs are processes of their own, so what they must know of each other is in a folder: a locked file for each
//! build that runs on an engine, a file for an engine that takes no more, and one for an engine that does not answer.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use slipway_context::Digest;

use super::Error;
use super::address::Address;
use super::engine::{self, Engine};
use super::feature::Feature;
use crate::lock_file::try_lock;

/// How often the service looks at every engine.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long an engine that failed is the last one to be tried.
const AVOID: Duration = Duration::from_secs(30);
/// How long an engine that may be lost has to answer.
const STILL_THERE: Duration = Duration::from_secs(5);

/// The engines of a daemon.
#[derive(Debug)]
pub struct Pool {
    members: Vec<Member>,
    /// What all processes of the daemon share.
    shared: PathBuf,
}

#[derive(Debug)]
struct Member {
    config: engine::Config,
    /// Names its files.
    id: String,
    /// Connected when it is needed.
    engine: tokio::sync::Mutex<Option<Engine>>,
    /// When it failed this process.
    failed: Mutex<Option<Instant>>,
    /// Whether it was said that its steps reach the host's network.
    told_open: AtomicBool,
}

/// What a build needs of its engine.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// What it is built for; none: the engine's own.
    pub platforms: Vec<String>,
    /// It can't do without these.
    pub features: Vec<Feature>,
    /// With these it is faster.
    pub welcome: Vec<Feature>,
}

/// How well an engine suits a build, from bad to good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Lacking,
    OtherPlatform,
    Slower,
    Whole,
}

/// An engine with room for a build, which is taken as long as this is held.
#[derive(Debug)]
pub struct Lease {
    engine: Engine,
    _slot: File,
}

/// What is known of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where it is.
    pub address: Address,
    /// Why it can't be used, where that is so.
    pub down: Option<String>,
    /// It takes no more builds.
    pub draining: bool,
    /// Builds that run on it.
    pub building: usize,
    /// How many may.
    pub max_builds: usize,
}

impl Deref for Lease {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Needs {
    async fn fit(&self, engine: &Engine) -> Fit {
        // Boxed: most builds ask nothing.
        Box::pin(engine.ask(self.features.iter().chain(&self.welcome).copied())).await;
        let lacks = |features: &[Feature]| features.iter().any(|feature| engine.lacks(*feature));
        if lacks(&self.features) {
            Fit::Lacking
        } else if !engine.builds_for(&self.platforms) {
            Fit::OtherPlatform
        } else if lacks(&self.welcome) {
            Fit::Slower
        } else {
            Fit::Whole
        }
    }
}

impl Member {
    fn new(config: engine::Config) -> Self {
        let id = Digest::of(config.address.to_string().as_bytes()).hex()[..16].to_owned();
        Self {
            config,
            id,
            engine: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
            told_open: AtomicBool::default(),
        }
    }

    /// The same for all processes and machines.
    fn score(&self, key: &str) -> [u8; 32] {
        *Digest::of(format!("{} {key}", self.id).as_bytes()).as_bytes()
    }

    async fn connect(&self) -> Result<Engine, Error> {
        let mut engine = self.engine.lock().await;
        if let Some(engine) = &*engine {
            return Ok(engine.clone());
        }
        let connected = Engine::connect(&self.config).await;
        self.set_failed(connected.is_err());
        Ok(engine.insert(connected?).clone())
    }

    fn set_failed(&self, failed: bool) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed.then(Instant::now);
    }

    fn has_failed(&self) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < AVOID)
    }

    fn slots(&self) -> impl Iterator<Item = String> {
        (0..self.config.max_builds).map(|slot| format!("{} slot {slot}", self.id))
    }
}

impl Pool {
    /// Of these engines; nothing is asked of them yet. `shared` is the folder that all processes of the daemon share.
    pub fn new(engines: Vec<engine::Config>, shared: PathBuf) -> Self {
        Self { members: engines.into_iter().map(Member::new).collect(), shared }
    }

    /// An engine for a build of this repository (any text that names it) that needs this: the one that has its cache, else the
    /// next one; none while all that could take it are full or take no more. Fails if none can be reached. Where none has all
    /// that is needed, it is the one that comes closest.
    pub async fn lease(&self, repository: &str, needs: &Needs) -> Result<Option<Lease>, Error> {
        let (mut failure, mut full, mut others) = (None, None::<Fit>, Vec::<(Fit, &Member, Engine)>::new());
        for member in self.in_order(repository) {
            // One that may not answer is not waited for while another one has room, or will have it soon.
            let usable = full.is_some() || others.iter().any(|(fit, ..)| *fit > Fit::Lacking);
            if usable && self.is_doubtful(member) {
                continue;
            }
            match member.connect().await {
                Ok(engine) => match needs.fit(&engine).await {
                    Fit::Whole => match self.free_slot(member)? {
                        Some(slot) => return Ok(Some(Lease { engine, _slot: slot })),
                        None => full = Some(Fit::Whole),
                    },
                    fit => others.push((fit, member, engine)),
                },
                // What a full one has is not known.
                Err(_) if self.free_slot(member)?.is_none() => full = Some(Fit::Whole),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        others.sort_by_key(|(fit, ..)| Reverse(*fit));
        for (fit, member, engine) in others {
            // One that can do it will have room soon, or may be back soon. That one would only be faster is no reason to wait.
            let better = fit < Fit::Slower && full.is_some_and(|full| full > fit);
            if better || fit == Fit::Lacking && failure.is_some() {
                break;
            }
            match self.free_slot(member)? {
                // It says itself which platform it can't build for, and what can be done.
                Some(slot) => return Ok(Some(Lease { engine, _slot: slot })),
                None => full = Some(fit),
            }
        }
        match failure {
            Some(error) if full.is_none() => Err(error),
            _ => Ok(None),
        }
    }

    /// An engine for what belongs to this name and takes nobody's room; none while all take no more.
    pub async fn engine(&self, name: &str) -> Result<Option<Engine>, Error> {
        let mut failure = None;
        for member in self.in_order(name) {
            match member.connect().await {
                Ok(engine) => return Ok(Some(engine)),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// All engines, those that take no builds too; those that can't be reached as the error.
    pub async fn all(&self) -> Vec<Result<Engine, Error>> {
        futures::future::join_all(self.members.iter().map(Member::connect)).await
    }

    /// After something on it failed that may have been its fault: whether it is still there. One that isn't is avoided.
    pub async fn still_there(&self, engine: &Engine) -> bool {
        let there = tokio::time::timeout(STILL_THERE, engine.answers()).await.is_ok_and(|answer| answer.is_ok());
        if !there {
            for member in self.members.iter().filter(|member| member.config.address == *engine.address()) {
                member.set_failed(true);
                *member.engine.lock().await = None;
            }
        }
        there
    }

    /// Those that take builds, the best one first.
    fn in_order(&self, key: &str) -> Vec<&Member> {
        let takes = |member: &&Member| !self.is_draining(member) && self.why_odd(member).is_none();
        let mut members: Vec<_> = self.members.iter().filter(takes).collect();
        members.sort_by_cached_key(|member| (self.is_doubtful(member), Reverse(member.score(key))));
        members
    }

    /// Whether it did not answer just now, us or the service.
    fn is_doubtful(&self, member: &Member) -> bool {
        member.has_failed() || self.why_down(member).is_some()
    }

    fn free_slot(&self, member: &Member) -> Result<Option<File>, Error> {
        for slot in member.slots() {
            if let Some(slot) = try_lock(&self.shared, &slot).map_err(|error| Error::Pool(error.to_string()))? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }
}

// What the service does for the processes of jobs.
impl Pool {
    /// Looks at every engine again and again, and leaves word of those that can't be used.
    pub async fn look_after(&self) {
        loop {
            self.look().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self) {
        let looks = self.members.iter().map(|member| async move {
            // A connection of its own: what is wrong with one that is there would be found by those who use it.
            (member, Engine::connect(&member.config).await)
        });
        let mut common = None::<(Address, Option<String>)>;
        for (member, engine) in futures::future::join_all(looks).await {
            if engine.as_ref().is_ok_and(Engine::host_network) && !member.told_open.swap(true, Ordering::Relaxed) {
                let address = &member.config.address;
                tracing::warn!(
                    engine = %address,
                    "OPEN ENGINE: the steps of engine {address} run on the host's network and reach everything that listens \
                     on its loopback. Give buildkitd CNI networking (networkMode = \"bridge\" in its configuration, or \
                     `make setup`)",
                );
            }
            let platform = engine.as_ref().ok().map(|engine| engine.default_platform().map(str::to_owned));
            let away = engine.as_ref().err().map(ToString::to_string);
            self.leave_word(member, "down", away.as_deref());
            let odd = match (engine, platform, &common) {
                // As it was when it answered last.
                (Err(_), ..) => continue,
                (Ok(engine), Some(platform), None) => {
                    common = Some((engine.address().clone(), platform));
                    None
                }
                // An image for no named platform must not depend on where it is built.
                (Ok(_), Some(platform), Some((first, other))) if platform != *other => Some(format!(
                    "it builds for {} and {first} for {}: engines of one service have to agree",
                    platform.as_deref().unwrap_or("no platform"),
                    other.as_deref().unwrap_or("none"),
                )),
                _ => None,
            };
            self.leave_word(member, "odd", odd.as_deref());
        }
    }

    fn leave_word(&self, member: &Member, what: &str, why: Option<&str>) {
        let (path, address) = (self.word(member, what), &member.config.address);
        if fs::read_to_string(&path).ok().as_deref() == why {
            return;
        }
        let result = if let Some(why) = why {
            tracing::warn!(engine = %address, error = %why, "engine {address} can't be used");
            fs::create_dir_all(&self.shared).and_then(|()| fs::write(path, why))
        } else {
            tracing::info!(engine = %address, "engine {address} can be used again");
            fs::remove_file(path)
        };
        if let Err(error) = result {
            tracing::warn!(%error, "can't leave word of engine {address}");
        }
    }

    /// What is known of every engine.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = |member: &Member| Seen {
            address: member.config.address.clone(),
            down: self.why_down(member).or_else(|| self.why_odd(member)),
            draining: self.is_draining(member),
            building: member.slots().filter(|slot| matches!(try_lock(&self.shared, slot), Ok(None))).count(),
            max_builds: member.config.max_builds,
        };
        self.members.iter().map(seen).collect()
    }

    /// Whether this engine takes no more builds from now on; false if there is no such engine. What runs goes on.
    pub fn set_draining(&self, address: &Address, draining: bool) -> io::Result<bool> {
        let Some(member) = self.members.iter().find(|member| member.config.address == *address) else {
            return Ok(false);
        };
        let path = self.word(member, "draining");
        if draining {
            fs::create_dir_all(&self.shared)?;
            fs::write(path, "")?;
        } else if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        Ok(true)
    }

    fn is_draining(&self, member: &Member) -> bool {
        self.word(member, "draining").exists()
    }

    /// Why it must not be used although it answers.
    fn why_odd(&self, member: &Member) -> Option<String> {
        fs::read_to_string(self.word(member, "odd")).ok()
    }

    fn why_down(&self, member: &Member) -> Option<String> {
        fs::read_to_string(self.word(member, "down")).ok()
    }

    fn word(&self, member: &Member, what: &str) -> PathBuf {
        self.shared.join(format!("{}.{what}", member.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buildkit::feature::tests::Fake;

    fn pool(dir: &std::path::Path, sockets: &[&str], max_builds: usize) -> Pool {
        let config =
            |socket: &&str| engine::Config { max_builds, ..engine::Config::new(Address::Unix(dir.join(socket))) };
        Pool::new(sockets.iter().map(config).collect(), dir.join("engines"))
    }

    fn first<'p>(pool: &'p Pool, key: &str) -> &'p str {
        pool.in_order(key).first().map(|member| member.id.as_str()).unwrap()
    }

    #[test]
    fn a_repository_keeps_its_engine_when_others_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let (three, two) = (pool(dir.path(), &["a", "b", "c"], 1), pool(dir.path(), &["c", "a"], 1));
        let gone = three.members[1].id.clone();
        let mut on = std::collections::BTreeMap::<_, u32>::new();
        for n in 0..300 {
            let key = format!("dev/app-{n}");
            let before = first(&three, &key).to_owned();
            *on.entry(before.clone()).or_default() += 1;
            if before != gone {
                assert_eq!(first(&two, &key), before, "{key}");
            }
        }
        assert!(on.len() == 3 && on.values().all(|count| (60..140).contains(count)), "{on:?}");
    }

    #[test]
    fn what_failed_is_last_and_what_drains_is_out() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool(dir.path(), &["a", "b", "c"], 1);
        let order = || pool.in_order("key").into_iter().map(|member| member.id.clone()).collect::<Vec<_>>();
        let [one, two, three] = <[String; 3]>::try_from(order()).unwrap();
        let member = |id: &str| pool.members.iter().find(|member| member.id == id).unwrap();
        member(&one).set_failed(true);
        assert_eq!(order(), [two.as_str(), &three, &one]);
        pool.leave_word(member(&two), "down", Some("it is away"));
        assert_eq!(order(), [three.as_str(), &one, &two]);
        pool.leave_word(member(&two), "down", None);
        pool.leave_word(member(&three), "odd", Some("it builds for another platform"));
        assert_eq!(order(), [two.as_str(), &one]);
        pool.leave_word(member(&three), "odd", None);
        member(&one).set_failed(false);
        assert!(pool.set_draining(&member(&one).config.address, true).unwrap());
        assert_eq!(order(), [two.as_str(), &three]);
        // Another process sees it, too.
        assert!(super::tests::pool(dir.path(), &["a", "b", "c"], 1).seen().iter().any(|seen| seen.draining));
        assert!(pool.set_draining(&member(&one).config.address, false).unwrap());
        assert_eq!(order(), [one.as_str(), &two, &three]);
        assert!(!pool.set_draining(&"unix:///nowhere".parse().unwrap(), true).unwrap());
    }

    #[tokio::test]
    async fn room_is_counted_over_all_processes() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (pool(dir.path(), &["a"], 2), pool(dir.path(), &["a"], 2));
        let slot = |pool: &Pool| pool.free_slot(&pool.members[0]).unwrap();
        let (first, second) = (slot(&ours).unwrap(), slot(&theirs).unwrap());
        assert!(slot(&ours).is_none());
        assert_eq!(ours.seen()[0].building, 2);
        assert!(ours.lease("key", &Needs::default()).await.unwrap().is_none(), "full is no failure");
        drop((first, second));
        assert_eq!(ours.seen()[0].building, 0);
        // Nobody is there.
        assert!(matches!(
            ours.lease("key", &Needs::default()).await,
            Err(Error::Unreachable { .. } | Error::Connect { .. })
        ));
    }

    fn s3() -> Vec<Feature> {
        vec![Feature::Cache("s3")]
    }

    #[tokio::test]
    async fn what_one_engine_lacks_another_one_builds() {
        let dir = tempfile::tempdir().unwrap();
        let [without, with] = [("a", [].as_slice()), ("b", &["s3"])]
            .map(|(name, caches)| Fake::start(&dir.path().join(name), 13, caches));
        let pool = pool(dir.path(), &["a", "b"], 1);
        let leased = async |key: u32, needs: &Needs| {
            pool.lease(&format!("dev/app-{key}"), needs).await.unwrap().map(|lease| lease.address().to_string())
        };
        let address = |name: &str| format!("unix://{}", dir.path().join(name).display());
        let plain = Needs::default();
        let mut on = std::collections::BTreeMap::<_, Vec<u32>>::new();
        for key in 0..20 {
            on.entry(leased(key, &plain).await.unwrap()).or_default().push(key);
        }
        assert_eq!(on.len(), 2, "{on:?}");
        assert_eq!((without.asked(), with.asked()), (0, 0), "who needs nothing asks nothing");
        let (needed, welcome) =
            (Needs { features: s3(), ..Needs::default() }, Needs { welcome: s3(), ..Needs::default() });
        for (key, needs) in (0..20).zip([&needed, &welcome].into_iter().cycle()) {
            assert_eq!(leased(key, needs).await, Some(address("b")));
        }
        assert_eq!((without.asked(), with.asked()), (1, 1), "each is asked once");
        // Where that is full, it is waited for, but not for speed alone.
        let full = pool.lease("x", &needed).await.unwrap();
        assert_eq!(leased(0, &needed).await, None);
        for needs in [&welcome, &plain] {
            assert_eq!(leased(0, needs).await, Some(address("a")));
        }
        drop(full);
    }

    #[tokio::test]
    async fn one_that_suits_no_worse_is_not_kept_waiting_for_a_full_one() {
        let dir = tempfile::tempdir().unwrap();
        let _fakes = ["a", "b"].map(|name| Fake::start(&dir.path().join(name), 13, &[]));
        let pool = pool(dir.path(), &["a", "b"], 1);
        for needs in [Needs { welcome: s3(), ..Needs::default() }, Needs { features: s3(), ..Needs::default() }] {
            let one = pool.lease("x", &Needs::default()).await.unwrap().unwrap();
            let other = pool.lease("x", &needs).await.unwrap().unwrap();
            assert!(other.address() != one.address() && other.lacks(Feature::Cache("s3")));
            assert!(pool.lease("x", &needs).await.unwrap().is_none(), "both are full");
        }
    }

    #[tokio::test]
    async fn one_that_may_be_lost_is_left_alone_where_another_one_can_do_it() {
        let dir = tempfile::tempdir().unwrap();
        let _fake = Fake::start(&dir.path().join("a"), 13, &[]);
        // It takes connections, and that is all.
        let _hole = std::os::unix::net::UnixListener::bind(dir.path().join("b")).unwrap();
        let pool = pool(dir.path(), &["a", "b"], 1);
        pool.leave_word(&pool.members[1], "down", Some("it does not answer"));
        let welcome = Needs { welcome: s3(), ..Needs::default() };
        let _full = pool.lease("x", &welcome).await.unwrap().unwrap();
        let again = tokio::time::timeout(Duration::from_secs(5), pool.lease("x", &welcome)).await;
        assert!(again.expect("it would have been asked").unwrap().is_none());
    }

    #[tokio::test]
    async fn without_an_engine_that_has_it_all_the_one_that_comes_closest_builds() {
        let dir = tempfile::tempdir().unwrap();
        let _fake = Fake::start(&dir.path().join("a"), 13, &[]);
        let (alone, with_lost) = (pool(dir.path(), &["a"], 1), pool(dir.path(), &["a", "lost"], 1));
        let needed = Needs { features: s3(), ..Needs::default() };
        let lease = alone.lease("x", &needed).await.unwrap().unwrap();
        assert!(lease.lacks(Feature::Cache("s3")));
        drop(lease);
        // One that can't be reached now may have it.
        assert!(with_lost.lease("x", &needed).await.is_err());
        let welcome = Needs { welcome: s3(), ..Needs::default() };
        let lease = with_lost.lease("x", &welcome).await.unwrap().unwrap();
        assert!(lease.lacks(Feature::Cache("s3")));
        drop(lease);
        // What an engine says of platforms is not all that it can do.
        let foreign = Needs { platforms: vec!["linux/riscv64".to_owned()], ..Needs::default() };
        drop(with_lost.lease("x", &foreign).await.unwrap().unwrap());
        // Of two, the one that lacks only speed.
        let _fake = Fake::start(&dir.path().join("b"), 13, &["s3"]);
        let pool = pool(dir.path(), &["a", "b"], 1);
        let needs = Needs { features: s3(), welcome: vec![Feature::Cache("gha")], platforms: Vec::new() };
        for key in 0..10 {
            let lease = pool.lease(&key.to_string(), &needs).await.unwrap().unwrap();
            assert!(!lease.lacks(Feature::Cache("s3")));
        }
    }

    #[tokio::test]
    async fn an_unclear_answer_is_asked_for_once_and_held_against_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let fake = Fake::saying(&dir.path().join("a"), "out of sorts");
        let pool = pool(dir.path(), &["a"], 1);
        for needs in [Needs { features: s3(), ..Needs::default() }, Needs { welcome: s3(), ..Needs::default() }] {
            for _ in 0..2 {
                let lease = pool.lease("x", &needs).await.unwrap().unwrap();
                assert!(!lease.lacks(Feature::Cache("s3")));
            }
        }
        assert_eq!(fake.asked(), 1);
    }
}
