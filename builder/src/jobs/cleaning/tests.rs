use super::*;
use crate::names::JobId;
use crate::pipeline::looking::Looking;
use crate::seal::Key;
use crate::stop::Stop;
use crate::store::Db;
use crate::store::db::jobs::{self, JobRow};
use crate::store::snapshots::snapshot_is_complete;
use crate::store::trees;
use slipway_context::{Directory, Entry, Node};

/// Nothing is too young.
const POLICY: Policy =
    Policy { young: Duration::ZERO, spare: u64::MAX, charge: u64::MAX, small: 0, few: usize::MAX, most: u64::MAX };

pub(in crate::jobs) struct Service {
    dir: tempfile::TempDir,
    pub(in crate::jobs) jobs: Jobs,
    namespace: Namespace,
}

impl Service {
    pub(in crate::jobs) async fn start() -> Self {
        Self::storing(store::Config::default()).await
    }

    async fn storing(config: store::Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path()).await.unwrap();
        Self::over(dir, db, config).await
    }

    async fn over(dir: tempfile::TempDir, db: Db, config: store::Config) -> Self {
        let namespace: Namespace = "dev".parse().unwrap();
        db.create_namespace(&namespace).await.unwrap();
        let jobs = Jobs::new(
            db,
            dir.path().to_owned(),
            super::super::Config::default(),
            config,
            Looking::nowhere(dir.path()),
            Vec::new(),
            Stop::default(),
        );
        Self { dir, jobs, namespace }
    }

    fn blobs(&self) -> Blobs {
        Blobs::open(self.dir.path(), &self.namespace).unwrap()
    }

    fn db(&self) -> &Db {
        &self.jobs.inner.db
    }

    /// A tree of one file with that content, complete and used so long ago.
    async fn tree(&self, content: &[u8], used_ms_ago: i64) -> Digest {
        let node = Node::File { digest: Digest::of(content), size: content.len() as u64, chunked: false };
        let entry = Entry { name: "file".to_owned(), mode: 0o644, node };
        let directory = Directory::new(vec![entry]).unwrap();
        store::tests::put(&self.blobs(), &[&directory.encode(), content]);
        let root = directory.digest();
        let checked = trees::check(&self.blobs(), &root).unwrap();
        assert_eq!(checked.missing, []);
        let db = self.db();
        db.add_snapshot(&self.namespace, &root, 1, content.len() as u64, now_ms()).await.unwrap();
        db.set_snapshot_used(&self.namespace, &root, now_ms() - used_ms_ago).await.unwrap();
        root
    }

    /// A job with this tree.
    pub(in crate::jobs) async fn job(&self, root: Digest, state: JobState) -> JobId {
        let plan = serde_json::from_value(serde_json::json!({
            "kind": "deploy", "name": "app", "builds": [], "commands": null
        }));
        let plan = plan.unwrap_or_else(|error| panic!("{error}"));
        let job = JobId::new();
        let spec = crate::jobs::spec::JobSpec {
            job,
            namespace: self.namespace.clone(),
            owner: "me".to_owned(),
            admin: false,
            plan,
            builds: std::collections::BTreeMap::new(),
            skipped: std::collections::BTreeMap::new(),
            commands: vec![root],
            no_wait: false,
            grace_ms: None,
        };
        self.jobs.dir(job).create(&spec, &Key::open(self.dir.path()).unwrap(), None).unwrap();
        let row = jobs::tests::row(super::super::state::JobKind::Deploy, "app");
        let row = JobRow { id: job, namespace: self.namespace.clone(), state, ..row };
        self.db().insert_job(&row, &job.to_string()).await.unwrap();
        job
    }

    async fn clean(&self, config: &store::Config) -> Swept {
        self.jobs.clean(config, &POLICY).await.unwrap()
    }

    async fn is_complete(&self, root: &Digest) -> bool {
        snapshot_is_complete(self.db(), &self.blobs(), &self.namespace, root).await.unwrap().is_some()
    }
}

#[tokio::test]
async fn trees_go_after_keep_days_and_those_in_use_stay() {
    let service = Service::start().await;
    let old = service.tree(b"old", 15 * DAY_MS).await;
    let of_a_job = service.tree(b"of a job", 15 * DAY_MS).await;
    let recent = service.tree(b"recent", 13 * DAY_MS).await;
    let job = service.job(of_a_job, JobState::Queued).await;

    assert_eq!(service.clean(&store::Config::default()).await.packs, 1);
    assert!(!service.is_complete(&old).await);
    assert!(service.is_complete(&of_a_job).await && service.is_complete(&recent).await);
    assert!(!service.blobs().has(&Digest::of(b"old")));
    assert!(service.blobs().has(&Digest::of(b"of a job")) && service.blobs().has(&Digest::of(b"recent")));

    service.db().finish_job(job, JobState::Cancelled, None).await.unwrap();
    service.db().set_snapshot_used(&service.namespace, &of_a_job, 0).await.unwrap();
    assert_eq!(service.clean(&store::Config::default()).await.packs, 1);
    assert!(!service.blobs().has(&Digest::of(b"of a job")));
}

#[tokio::test]
async fn jobs_of_the_namespace_count_until_they_end() {
    let service = Service::start().await;
    let states = [JobState::Syncing, JobState::Queued, JobState::Running, JobState::Failed, JobState::Succeeded];
    for (n, state) in states.into_iter().enumerate() {
        service.job(Digest::of(&[n as u8]), state).await;
    }
    let digests = |numbers: &[u8]| numbers.iter().map(|n| Digest::of(&[*n])).collect::<HashSet<_>>();
    let found = service.jobs.roots_of_jobs(&service.namespace).await.unwrap();
    assert_eq!((found.syncing, found.complete), (digests(&[0]), digests(&[1, 2])));
    let other = service.jobs.roots_of_jobs(&"other".parse().unwrap()).await.unwrap();
    assert!(other.syncing.is_empty() && other.complete.is_empty());
}

#[tokio::test]
async fn a_job_whose_specification_is_lost_keeps_nothing_from_being_cleaned() {
    let service = Service::start().await;
    for (n, content) in [b"".as_slice(), b"{\"job\":", b"null"].into_iter().enumerate() {
        for state in [JobState::Syncing, JobState::Queued] {
            let old = service.tree(&[n as u8], 15 * DAY_MS).await;
            let job = service.job(old, state).await;
            std::fs::write(service.jobs.dir(job).path().join("spec.json"), content).unwrap();
            assert_eq!(service.clean(&store::Config::default()).await.packs, 1, "{state:?}");
        }
    }
    // Of what can't be read, and of a job that runs, nobody knows.
    let old = service.tree(b"content", 15 * DAY_MS).await;
    let running = service.job(old, JobState::Running).await;
    std::fs::write(service.jobs.dir(running).path().join("spec.json"), b"").unwrap();
    assert_eq!(service.clean(&store::Config::default()).await.packs, 0);
    service.db().finish_job(running, JobState::Failed, None).await.unwrap();
    let unreadable = service.job(old, JobState::Queued).await;
    let spec = service.jobs.dir(unreadable).path().join("spec.json");
    std::fs::remove_file(&spec).unwrap();
    std::fs::create_dir(&spec).unwrap();
    assert_eq!(service.clean(&store::Config::default()).await.packs, 0);
    std::fs::remove_dir(&spec).unwrap();
    assert_eq!(service.clean(&store::Config::default()).await.packs, 1);
}

#[tokio::test]
async fn nothing_goes_before_the_disk_says_that_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open_impatient(dir.path()).await;
    let service = Service::over(dir, db, store::Config::default()).await;
    service.tree(b"old", 15 * DAY_MS).await;
    let before = service.db().hold_back().await;
    assert_eq!(service.clean(&store::Config::default()).await, Swept::default());
    assert!(service.blobs().has(&Digest::of(b"old")));
    drop(before);
    while service.clean(&store::Config::default()).await.packs == 0 {}
    assert!(!service.blobs().has(&Digest::of(b"old")));
}

#[tokio::test]
async fn too_much_goes_by_last_use_but_never_what_was_used_within_the_hour() {
    let service = Service::start().await;
    let (one, two, three) = (vec![1; 1000], vec![2; 1000], vec![3; 1000]);
    let oldest = service.tree(&one, 3 * DAY_MS).await;
    let middle = service.tree(&two, 2 * DAY_MS).await;
    let newest = service.tree(&three, DAY_MS).await;
    let limit = store::Config { namespace_max_bytes: Some(2500), ..store::Config::default() };
    service.clean(&limit).await;
    assert!(!service.is_complete(&oldest).await);
    assert!(service.is_complete(&middle).await && service.is_complete(&newest).await);

    // Being asked for has been a use of both.
    service.db().set_snapshot_used(&service.namespace, &middle, now_ms() - DAY_MS).await.unwrap();
    let limit = store::Config { max_bytes: Some(10), ..store::Config::default() };
    service.clean(&limit).await;
    assert!(!service.blobs().has(&Digest::of(&two)));
    assert!(service.blobs().has(&Digest::of(&three)));
}

#[tokio::test]
async fn what_no_tree_needs_goes_before_any_tree_does() {
    let service = Service::start().await;
    let trees = [service.tree(&[1; 1000], 3 * DAY_MS).await, service.tree(&[2; 1000], 2 * DAY_MS).await];
    let limit = store::Config { namespace_max_bytes: Some(2600), ..store::Config::default() };
    let everywhere = store::Config { max_bytes: Some(2600), ..store::Config::default() };
    for config in [limit.clone(), everywhere] {
        store::tests::put(&service.blobs(), &[&[3; 5000]]);
        let swept = service.jobs.clean(&config, &Policy::default()).await.unwrap();
        assert_eq!((swept.packs, swept.bytes), (1, 5048), "what was cut is gone, however young");
        assert!(!service.blobs().has(&Digest::of(&[3; 5000])));
    }

    // A sync that goes on keeps what it has, and costs no tree: it may never come to its end.
    let node = Node::File { digest: Digest::of(&[4; 5000]), size: 5000, chunked: false };
    let entry = |name: &str, node| Entry { name: name.to_owned(), mode: 0o644, node };
    let lacking = Node::File { digest: Digest::of(b"not there yet"), size: 13, chunked: false };
    let directory = Directory::new(vec![entry("a", node), entry("b", lacking)]).unwrap();
    store::tests::put(&service.blobs(), &[&directory.encode(), &[4; 5000]]);
    service.job(directory.digest(), JobState::Syncing).await;
    let swept = service.jobs.clean(&limit, &Policy::default()).await.unwrap();
    assert_eq!(swept, Swept::default());
    for root in &trees {
        let row = service.db().snapshot_row(&service.namespace, root).await.unwrap();
        assert!(row.is_some(), "the trees are known");
        assert_eq!(trees::check(&service.blobs(), root).unwrap().missing, []);
    }
}

#[tokio::test]
async fn what_all_namespaces_have_too_much_goes_once_and_where_most_is_spare() {
    let service = Service::start().await;
    let names: Vec<Namespace> = ["a", "b", "c"].iter().map(|name| name.parse().unwrap()).collect();
    let blobs: Vec<_> = names.iter().map(|name| Blobs::open(service.dir.path(), name).unwrap()).collect();
    for (name, (blobs, contents)) in names.iter().zip(blobs.iter().zip([2, 4, 3])) {
        service.db().create_namespace(name).await.unwrap();
        for n in 0..contents {
            store::tests::put(blobs, &[&[n; 1000]]);
        }
    }
    let all = 9 * 1048;
    for (too_much, left) in [(1500, [2, 2, 3]), (2500, [2, 2, 0]), (1, [1, 2, 0])] {
        let total: u64 = blobs.iter().map(Blobs::bytes).sum();
        assert!(total <= all);
        let config = store::Config { max_bytes: Some(total - too_much), ..store::Config::default() };
        service.jobs.clean(&config, &Policy::default()).await.unwrap();
        assert_eq!(blobs.iter().map(|blobs| blobs.bytes() / 1048).collect::<Vec<_>>(), left, "{too_much}");
    }
}

#[tokio::test]
async fn a_namespace_that_takes_long_does_not_keep_the_others_from_being_cleaned() {
    let service = Service::start().await;
    let names: Vec<Namespace> = ["a", "b"].iter().map(|name| name.parse().unwrap()).collect();
    let blobs: Vec<_> = names.iter().map(|name| Blobs::open(service.dir.path(), name).unwrap()).collect();
    let mut busy = Vec::new();
    for (name, blobs) in names.iter().zip(&blobs) {
        service.db().create_namespace(name).await.unwrap();
        store::tests::put(blobs, &[b"unneeded"]);
        // Somebody commits.
        busy.push(service.jobs.keep_blobs(name).await);
    }
    // Whichever comes first.
    for free in [1, 0] {
        drop(busy.remove(free));
        let (config, patience) = (store::Config::default(), Duration::from_millis(1));
        // A round that finds the database busy, with the other one's, leaves all to the next.
        while blobs[free].has(&Digest::of(b"unneeded")) {
            service.jobs.clean_within(&config, &POLICY, patience).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if free == 1 {
            assert!(blobs[0].has(&Digest::of(b"unneeded")), "its round still waits");
        }
    }
}

#[tokio::test]
async fn a_round_goes_on_when_whoever_asked_for_it_leaves() {
    let limit = store::Config { namespace_max_pending_bytes: 3000, ..store::Config::default() };
    let service = Service::storing(limit).await;
    // What two cut syncs have left: the packs of both are to go.
    let content = [1; 2000];
    let node = Node::File { digest: Digest::of(&content), size: 2000, chunked: false };
    let directory = Directory::new(vec![Entry { name: "file".to_owned(), mode: 0o644, node }]).unwrap();
    let root = directory.digest();
    store::tests::put(&service.blobs(), &[&directory.encode(), &content]);
    store::tests::put(&service.blobs(), &[&[3; 5000]]);

    // Somebody commits, so that the round comes no further than before its last step.
    let keep = service.jobs.keep_blobs(&service.namespace).await;
    let admit = || {
        let (jobs, namespace) = (service.jobs.clone(), service.namespace.clone());
        tokio::spawn(async move { jobs.admit(&namespace).await })
    };
    let waits = || service.jobs.sweep_lock(&service.namespace).try_read_owned().is_err();
    let first = admit();
    while !waits() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert!(waits(), "the round goes on");

    let asked = std::time::Instant::now();
    let second = admit();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!second.is_finished() && waits());
    service.db().add_snapshot(&service.namespace, &root, 1, 2000, now_ms()).await.unwrap();
    drop(keep);
    second.await.unwrap().unwrap();
    assert!(service.jobs.pending(&service.namespace).last_began().unwrap() < asked, "there was one round");
    assert!(!service.blobs().has(&Digest::of(&[3; 5000])));
    assert_eq!(trees::check(&service.blobs(), &root).unwrap().missing, []);
}

#[tokio::test]
async fn a_damaged_tree_is_not_believed_and_is_complete_again_when_it_was_sent_again() {
    let service = Service::start().await;
    let root = service.tree(b"content", 0).await;
    assert!(service.is_complete(&root).await);
    service.blobs().quarantine(&Digest::of(b"content")).unwrap();
    assert!(!service.is_complete(&root).await);
    assert_eq!(trees::check(&service.blobs(), &root).unwrap().missing, [Digest::of(b"content")]);
    assert_eq!(service.tree(b"content", 0).await, root);
    assert!(service.is_complete(&root).await);
}

#[test]
fn the_limit_counts_from_the_last_use() {
    let uses = vec![(1, 10), (5, 10), (3, 10), (i64::MAX, 100)];
    assert_eq!(oldest_within(uses.clone(), 130), i64::MIN);
    assert_eq!(oldest_within(uses.clone(), 129), 2);
    assert_eq!(oldest_within(uses.clone(), 119), 4);
    assert_eq!(oldest_within(uses, 0), 6);
}
