//! One call of the sync, message by message.

use std::sync::Arc;
use std::time::Duration;

use slipway_context::{Directory, Entry, Node};
use slipway_proto::v1 as api;
use tokio::sync::mpsc;

use super::*;
use crate::jobs::Config;
use crate::jobs::event_log::EventLogReader;
use crate::jobs::process::{self, JobLock};
use crate::pipeline::looking::Looking;
use crate::pipeline::variables::Hidden;
use crate::stop::Stop;
use crate::store::{self, Db};
use crate::variables::VariableKind;

struct Scene {
    _dir: tempfile::TempDir,
    jobs: Jobs,
    caller: Caller,
}

struct Tree {
    root: Digest,
    node: Vec<u8>,
}

fn tree(files: &[(&str, &[u8])]) -> Tree {
    let entry = |(name, content): &(&str, &[u8])| Entry {
        name: (*name).to_owned(),
        mode: 0o644,
        node: Node::File { digest: Digest::of(content), size: content.len() as u64, chunked: false },
    };
    let node = Directory::new(files.iter().map(entry).collect()).unwrap().encode();
    Tree { root: Digest::of(&node), node }
}

fn record(content: &[u8]) -> Vec<u8> {
    named(Digest::of(content), content)
}

fn named(digest: Digest, content: &[u8]) -> Vec<u8> {
    [digest.as_bytes().as_slice(), &(content.len() as u64).to_be_bytes(), &7i64.to_be_bytes(), content].concat()
}

fn zstd(records: &[u8]) -> Message {
    Message::Zstd(::zstd::bulk::compress(records, 1).unwrap())
}

impl Scene {
    async fn new() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        Self::storing(config, store::Config::default()).await
    }

    async fn storing(config: Config, store: store::Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path()).await.unwrap();
        let jobs = Jobs::new(
            db,
            dir.path().to_owned(),
            config,
            store,
            Looking::nowhere(dir.path()),
            Vec::new(),
            Stop::default(),
        );
        let caller = Caller { user: "ann".to_owned(), admin: true, namespaces: Vec::new() };
        Self { _dir: dir, jobs, caller }
    }

    fn request(roots: Vec<api::Root>) -> Submission {
        let build = api::BuildPlan {
            service: "app".to_owned(),
            context: ".".to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            context_root: roots[0].name.clone(),
            dockerfile_root: roots.last().unwrap().name.clone(),
            ..api::BuildPlan::default()
        };
        let plan = api::Plan {
            kind: api::JobKind::Build.into(),
            name: "ex".to_owned(),
            builds: vec![build],
            ..api::Plan::default()
        };
        let request_id = uuid::Uuid::now_v7().to_string();
        api::SubmitRequest {
            request_id,
            namespace: "dev".to_owned(),
            plan: Some(plan),
            roots,
            secrets: Vec::new(),
            logins: Vec::new(),
            masked: Vec::new(),
            ..api::SubmitRequest::default()
        }
        .try_into()
        .unwrap()
    }

    async fn submit(&self, tree: &Tree) -> JobRow {
        let root = api::Root { name: "r".to_owned(), digest: tree.root.as_bytes().to_vec(), ..api::Root::default() };
        let (row, missing) = self.submitted(vec![root]).await;
        assert_eq!(missing, ["r"]);
        row
    }

    /// A job, and the roots that it lacks.
    async fn submitted(&self, roots: Vec<api::Root>) -> (JobRow, Vec<String>) {
        match self.jobs.submit(&self.caller, Self::request(roots)).await.unwrap() {
            Submitted::Job { row, missing_roots } => (*row, missing_roots),
            Submitted::Widen(roots) => panic!("it wants {roots:?}"),
        }
    }

    /// One call with these messages, to its end.
    async fn call(&self, job: &JobRow, messages: Vec<Message>) -> (Vec<Answer>, Result<(), JobsError>) {
        let call = match self.jobs.open_sync(&self.caller, &job.id.to_string(), 1000).await {
            Ok(call) => call,
            Err(error) => return (Vec::new(), Err(error)),
        };
        let (sender, queue) = mpsc::channel(16);
        let (answers, mut heard) = mpsc::channel(64);
        for message in messages {
            sender.try_send(message).unwrap();
        }
        drop(sender);
        let ended = call.run(queue, &answers).await;
        drop(answers);
        let mut told = Vec::new();
        while let Some(answer) = heard.recv().await {
            told.push(answer.unwrap());
        }
        (told, ended)
    }

    fn events(&self, job: &JobRow) -> Vec<Kind> {
        let events = EventLogReader::new(&self.jobs.dir(job.id).events(), 0).read(usize::MAX).unwrap();
        events.into_iter().filter_map(|event| event.kind).collect()
    }
}

fn missing(blobs: &[Digest]) -> Answer {
    let mut digests = blobs.to_vec();
    digests.sort_unstable();
    Answer::Missing { digests, last: true }
}

#[tokio::test]
async fn nodes_then_what_is_missing_then_the_job_is_queued() {
    let scene = Scene::new().await;
    let tree = tree(&[("a", b"aa"), ("b", b"bbb")]);
    let job = scene.submit(&tree).await;
    let (told, ended) = scene.call(&job, vec![Message::Check, zstd(&record(&tree.node)), Message::Check]).await;
    ended.unwrap();
    let stored = Answer::Stored(tree.node.len() as u64);
    assert_eq!(told, [missing(&[tree.root]), stored, missing(&[Digest::of(b"aa"), Digest::of(b"bbb")])]);
    // Over another call, with a record in two frames of both kinds.
    let (a, b) = (record(b"aa"), record(b"bbb"));
    let (first, second) = b.split_at(50);
    let messages = vec![zstd(&[a.as_slice(), first].concat()), Message::Raw(second.to_vec()), Message::Check];
    let (told, ended) = scene.call(&job, messages).await;
    ended.unwrap();
    assert_eq!(told, [Answer::Stored(2), Answer::Stored(5), Answer::Committed]);
    let events = scene.events(&job);
    let Kind::SyncDone(done) = &events[0] else { panic!("{events:?}") };
    assert_eq!((done.files, done.bytes, done.sent_bytes, done.reused_bytes), (2, 5, 5, 0), "of both calls");
    assert!(matches!(events[1..], [Kind::JobQueued(JobQueued { position: 1, behind: None })]));
    // An answer that got lost is given again, and changes nothing.
    let (told, ended) = scene.call(&job, vec![Message::Check]).await;
    ended.unwrap();
    assert_eq!((told, scene.events(&job).len()), (vec![Answer::Committed], 2));
}

#[tokio::test]
async fn what_was_received_before_a_cut_or_a_mistake_stays() {
    let scene = Scene::new().await;
    let tree = tree(&[("a", b"aa"), ("b", b"bbb"), ("c", b"c")]);
    let job = scene.submit(&tree).await;
    let half = record(b"bbb")[..49].to_vec();
    let records = [record(&tree.node), record(b"aa"), half].concat();
    let (_, ended) = scene.call(&job, vec![Message::Raw(records)]).await;
    assert!(matches!(ended, Err(JobsError::Upload(_))), "{ended:?}");
    // A content that is another than it says: what came before it counts.
    let lie = [record(b"c"), named(Digest::of(b"bbb"), b"xxx")].concat();
    let (told, ended) = scene.call(&job, vec![Message::Check, zstd(&lie)]).await;
    assert_eq!(told, [missing(&[Digest::of(b"bbb"), Digest::of(b"c")])]);
    let error = ended.unwrap_err().to_string();
    assert!(error.contains(&Digest::of(b"bbb").to_string()), "{error}");
    let (told, _) = scene.call(&job, vec![Message::Check]).await;
    assert_eq!(told, [missing(&[Digest::of(b"bbb")])]);
    let (told, _) = scene.call(&job, vec![zstd(&record(b"bbb")), Message::Check]).await;
    assert_eq!(told.last(), Some(&Answer::Committed));
    let Kind::SyncDone(done) = &scene.events(&job)[0] else { panic!() };
    assert_eq!(done.sent_bytes, 6);
}

/// Bytes that don't belong to any tree, a frame each.
fn stray(frames: std::ops::Range<u8>) -> Vec<Message> {
    frames.map(|n| Message::Raw(record(&vec![n; 300_000]))).collect()
}

#[tokio::test]
async fn what_belongs_to_no_complete_tree_is_bounded() {
    let limit = store::Config { namespace_max_pending_bytes: 1_000_000, ..store::Config::default() };
    let scene = Scene::storing(Config::default(), limit).await;
    let blobs = || scene.jobs.blobs(&"dev".parse().unwrap()).unwrap();
    let job = scene.submit(&tree(&[("x", b"xx")])).await;
    // Call after call, and in one as well.
    for n in 0..3 {
        scene.call(&job, stray(n..n + 1)).await.1.unwrap();
    }
    let error = scene.call(&job, stray(3..9)).await.1.unwrap_err();
    assert!(matches!(error, JobsError::TooMuchPending { limit: 1_000_000, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("store.namespace_max_pending_bytes") && text.contains("slipway job list"), "{text}");
    assert!(blobs().bytes() < 1_400_000, "{} bytes", blobs().bytes());
    // The same for whoever else syncs there, with words or without: it is the namespace's.
    let large = vec![7; 900_000];
    let wanted = tree(&[("large", &large), ("small", b"small")]);
    let other = scene.submit(&wanted).await;
    assert!(matches!(scene.call(&other, stray(9..10)).await.1, Err(JobsError::TooMuchPending { .. })));

    // What is given up makes room; what is under way stays, cut or not, and comes to its end.
    scene.jobs.cancel(&scene.caller, &job.id.to_string(), None).await.unwrap();
    let first = vec![zstd(&record(&wanted.node)), zstd(&record(&large))];
    scene.call(&other, first).await.1.unwrap();
    assert!(!blobs().has(&Digest::of(&vec![0; 300_000])), "the stray bytes are gone");
    let again = scene.submit(&wanted).await;
    let (told, _) = scene.call(&again, vec![Message::Check, zstd(&record(b"small")), Message::Check]).await;
    assert_eq!(told, [missing(&[Digest::of(b"small")]), Answer::Stored(5), Answer::Committed]);
    // A complete tree is not pending: there is room for all of the limit again.
    scene.jobs.cancel(&scene.caller, &other.id.to_string(), None).await.unwrap();
    let next = scene.submit(&tree(&[("y", b"yy")])).await;
    scene.call(&next, stray(20..23)).await.1.unwrap();
    assert!(blobs().has(&Digest::of(&large)));
}

#[tokio::test]
async fn many_small_blobs_are_too_many() {
    let limit = store::Config { namespace_max_pending_bytes: 1_000_000, ..store::Config::default() };
    let scene = Scene::storing(Config::default(), limit).await;
    let job = scene.submit(&tree(&[("x", b"xx")])).await;
    let frame = |numbers: std::ops::Range<u32>| {
        zstd(&numbers.flat_map(|number| record(&number.to_be_bytes())).collect::<Vec<_>>())
    };
    let frames = vec![frame(0..500), frame(500..1000), frame(1000..1001)];
    // Counted as they come, and when they are found.
    assert!(matches!(scene.call(&job, frames).await.1, Err(JobsError::TooMuchPending { .. })));
    scene.jobs.inner.pending.lock().unwrap().clear();
    assert!(matches!(scene.call(&job, vec![frame(1000..1001)]).await.1, Err(JobsError::TooMuchPending { .. })));
}

#[tokio::test]
async fn a_small_root_is_taken_as_long_as_there_is_room_or_nothing_new_in_it() {
    let limit = store::Config { namespace_max_pending_bytes: 1_000_000, ..store::Config::default() };
    let scene = Scene::storing(Config::default(), limit).await;
    let root = |content: &[u8]| {
        let own = tree(&[("Dockerfile", content)]);
        let inline = [own.node.as_slice(), content].map(|blob| api::InlineBlob { content: blob.to_vec(), seconds: 5 });
        let digest = own.root.as_bytes().to_vec();
        vec![api::Root { name: "r".to_owned(), digest, inline: inline.to_vec(), narrowed_to: Vec::new() }]
    };
    let (job, missing_roots) = scene.submitted(root(b"FROM scratch\n")).await;
    assert!(missing_roots.is_empty() && job.state == JobState::Queued);
    let syncing = scene.submit(&tree(&[("x", b"xx")])).await;
    scene.call(&syncing, stray(0..9)).await.1.unwrap_err();

    let (job, missing_roots) = scene.submitted(root(b"FROM scratch\n")).await;
    assert!(missing_roots.is_empty() && job.state == JobState::Queued);
    let error = scene.jobs.submit(&scene.caller, Scene::request(root(b"FROM other\n"))).await.unwrap_err();
    assert!(matches!(error, JobsError::TooMuchPending { .. }), "{error:?}");
    let newest = scene.jobs.list(&scene.caller, None, 1).await.unwrap().remove(0);
    let failure = newest.failure.unwrap();
    assert_eq!((newest.state, failure.code.as_str()), (JobState::Failed, "too_much_pending"));
}

#[tokio::test]
async fn messages_out_of_order_and_frames_that_are_too_large_are_refused() {
    let scene = Scene::new().await;
    let tree = tree(&[("a", b"aa")]);
    let job = scene.submit(&tree).await;
    let (told, ended) = scene.call(&job, vec![zstd(&record(&tree.node)[..60]), Message::Check]).await;
    assert_eq!(told, [Answer::Stored(0)]);
    assert!(ended.unwrap_err().to_string().contains("inside a record"));
    for large in [Message::Raw(vec![0; (1 << 20) + 1]), zstd(&vec![0; (1 << 20) + 1]), Message::Zstd(vec![1, 2, 3])] {
        let (_, ended) = scene.call(&job, vec![large]).await;
        assert!(ended.unwrap_err().to_string().contains("a frame"));
    }
    assert!(matches!(scene.jobs.open_sync(&scene.caller, "nonsense", 0).await, Err(JobsError::NoJob(_))));
    assert_eq!(scene.jobs.get(&scene.caller, &job.id.to_string()).await.unwrap().state, JobState::Syncing);
}

#[tokio::test]
async fn a_later_call_takes_over() {
    let scene = Arc::new(Scene::new().await);
    let tree = tree(&[("a", b"aa")]);
    let job = scene.submit(&tree).await;
    let (sender, queue) = mpsc::channel(4);
    let (answers, mut heard) = mpsc::channel(4);
    let call = scene.jobs.open_sync(&scene.caller, &job.id.to_string(), 0).await.unwrap();
    let first = tokio::spawn(async move { call.run(queue, &answers).await });
    sender.send(zstd(&record(&tree.node))).await.unwrap();
    assert_eq!(heard.recv().await.unwrap().unwrap(), Answer::Stored(tree.node.len() as u64));
    // The first one's connection is dead, and nobody has noticed yet.
    let (told, ended) = scene.call(&job, vec![Message::Check, zstd(&record(b"aa")), Message::Check]).await;
    ended.unwrap();
    assert_eq!(told, [missing(&[Digest::of(b"aa")]), Answer::Stored(2), Answer::Committed]);
    assert!(matches!(first.await.unwrap(), Err(JobsError::TakenOver(_))));
    drop(sender);
}

#[tokio::test]
async fn a_job_that_ends_ends_its_call() {
    let scene = Scene::new().await;
    let job = scene.submit(&tree(&[("a", b"aa")])).await;
    let id = job.id.to_string();
    let call = scene.jobs.open_sync(&scene.caller, &id, 0).await.unwrap();
    let (_sender, queue) = mpsc::channel(4);
    let (answers, _heard) = mpsc::channel(4);
    let running = tokio::spawn(async move { call.run(queue, &answers).await });
    tokio::task::yield_now().await;
    assert_eq!(scene.jobs.cancel(&scene.caller, &id, None).await.unwrap().state, JobState::Cancelled);
    let ended = tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
    assert!(matches!(ended, Err(JobsError::NotSyncing { state: "cancelled", .. })), "{ended:?}");
    let late = scene.jobs.open_sync(&scene.caller, &id, 0).await;
    assert!(matches!(late, Err(JobsError::NotSyncing { .. })));
}

#[tokio::test]
async fn whoever_cancels_while_progress_is_told_is_heard() {
    let scene = Scene::new().await;
    let job = scene.submit(&tree(&[("a", b"aa")])).await;
    // The lock is held while an event is written: the request to cancel finds it taken and leaves.
    let lock = JobLock::try_take(&scene.jobs.dir(job.id)).unwrap().unwrap();
    process::cancel(&scene.jobs.dir(job.id), None).unwrap();
    drop(lock);
    scene.jobs.tell(&job, Kind::SyncProgress(api::SyncProgress::default())).await.unwrap();
    let row = scene.jobs.get(&scene.caller, &job.id.to_string()).await.unwrap();
    assert_eq!(row.state, JobState::Cancelled);
    assert!(matches!(scene.events(&job)[..], [Kind::SyncProgress(_), Kind::JobDone(_)]));
}

#[tokio::test]
async fn a_silent_client_is_not_waited_for_forever() {
    let scene = Scene::with(Config { sync_timeout_s: 0, ..Config::default() }).await;
    let job = scene.submit(&tree(&[("a", b"aa")])).await;
    let call = scene.jobs.open_sync(&scene.caller, &job.id.to_string(), 0).await.unwrap();
    let (_sender, queue) = mpsc::channel(4);
    let (answers, _heard) = mpsc::channel(4);
    assert!(matches!(call.run(queue, &answers).await, Err(JobsError::Silent { .. })));
}

#[tokio::test]
async fn a_small_root_that_comes_with_the_request_needs_no_sync() {
    let scene = Scene::new().await;
    let dockerfile = b"FROM scratch\n".as_slice();
    let (context, own) = (tree(&[("Dockerfile", dockerfile), ("a", b"aa")]), tree(&[("Dockerfile", dockerfile)]));
    let inline = |content: &[u8]| api::InlineBlob { content: content.to_vec(), seconds: 5 };
    let root = |name: &str, tree: &Tree, inline| api::Root {
        name: name.to_owned(),
        digest: tree.root.as_bytes().to_vec(),
        inline,
        narrowed_to: Vec::new(),
    };
    let roots = vec![root("c", &context, Vec::new()), root("d", &own, vec![inline(&own.node), inline(dockerfile)])];
    let (job, missing_roots) = scene.submitted(roots.clone()).await;
    assert_eq!(missing_roots, ["c"]);
    let records = [record(&context.node), record(b"aa")].concat();
    let (told, _) = scene.call(&job, vec![zstd(&records), Message::Check]).await;
    assert_eq!(told.last(), Some(&Answer::Committed));
    let Kind::SyncDone(done) = &scene.events(&job)[0] else { panic!() };
    assert_eq!((done.bytes, done.sent_bytes), (28, 15), "the Dockerfile travelled once");
    // The next time all of it is there.
    let (job, missing_roots) = scene.submitted(roots).await;
    assert!(missing_roots.is_empty());
    let Kind::SyncDone(done) = &scene.events(&job)[0] else { panic!() };
    assert_eq!((done.bytes, done.sent_bytes), (28, 0));
    // What was there and is sent all the same did not have to be.
    let more = tree(&[("Dockerfile", dockerfile), ("a", b"aa"), ("b", b"bbb")]);
    let roots = vec![root("c", &more, Vec::new()), root("d", &own, Vec::new())];
    let (job, _) = scene.submitted(roots).await;
    let records = [record(&more.node), record(b"aa"), record(b"bbb"), record(dockerfile)].concat();
    let (told, _) = scene.call(&job, vec![zstd(&records), Message::Check]).await;
    assert_eq!(told, [Answer::Stored(more.node.len() as u64 + 18), Answer::Committed]);
    let Kind::SyncDone(done) = &scene.events(&job)[0] else { panic!() };
    assert_eq!((done.bytes, done.sent_bytes, done.reused_bytes), (31, 3, 28));
    // What does not belong to the root makes it no less incomplete.
    let other = tree(&[("Dockerfile", b"FROM x\n")]);
    let wrong = vec![root("c", &context, Vec::new()), root("d", &other, vec![inline(dockerfile)])];
    let (_, missing_roots) = scene.submitted(wrong).await;
    assert_eq!(missing_roots, ["d"]);
}

#[tokio::test]
async fn what_a_command_submits_hides_and_has_what_its_own_job_does() {
    let service = crate::jobs::cleaning::tests::Service::start().await;
    let job = service.job(Digest::of(b"tree"), JobState::Running).await;
    let (jobs, dir) = (&service.jobs, service.jobs.dir(job));
    let key = Key::open(&jobs.inner.data_dir).unwrap();
    let namespace: Namespace = "dev".parse().unwrap();
    let mut variables = JobVariables::masking(vec!["of --var".to_owned()]).unwrap();
    let given = Given { kind: VariableKind::Secret, value: b"of the service".to_vec().into() };
    variables.add(BTreeMap::from([("KEPT".to_owned(), given)]), true);
    dir.keep_variables(&variables.seal(&key, job).unwrap()).unwrap();
    dir.write_token("its own token").unwrap();
    let kept = |value: &str| {
        let variables = [("DB_PASSWORD", value), ("OTHER", "no secret")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Kept { variables, ..Kept::default() }.seal(&key, &namespace, "app").unwrap()
    };
    dir.give_environment(Some(&kept("of the environment"))).unwrap();
    dir.leave(&kept("of a command")).unwrap();

    let caller = Caller { user: format!("{JOB_USER}{job}"), admin: false, namespaces: vec![namespace.clone()] };
    let secrets = ["of --var", "of the service", "its own token", "of the environment", "of a command"];
    let told = async |has_commands: bool| {
        let inner = jobs.resolved(&caller, &namespace, has_commands, JobVariables::default()).await.unwrap();
        let (secrets, logins) = (Secrets::default(), Logins::default());
        let hidden = Hidden { secrets: &secrets, logins: &logins, variables: &inner, token: None, keeping: None };
        let plan = serde_json::json!({"kind": "build", "name": "app", "builds": [], "commands": []});
        let masks = hidden.masks(&serde_json::from_value(plan).unwrap(), &namespace, "ann");
        let text = masks.text("of --var, of the service, its own token, of the environment, of a command, no secret");
        (text.into_owned(), inner.names())
    };
    for (has_commands, names) in [(false, Vec::new()), (true, vec!["KEPT".to_owned()])] {
        assert_eq!(told(has_commands).await, (format!("{}no secret", "***, ".repeat(secrets.len())), names));
    }
    // Of a job that has ended there is nothing.
    dir.forget_spec();
    let (text, names) = told(true).await;
    assert!(secrets.iter().all(|secret| text.contains(secret)) && names.is_empty(), "{text}");
}
