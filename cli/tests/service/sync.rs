//! What the sync sends, and in how many round trips.

use super::*;

/// Bytes that don't get smaller.
pub(super) fn noise(bytes: usize, mut state: u64) -> Vec<u8> {
    let next = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as u8
    };
    std::iter::repeat_with(|| next(&mut state)).take(bytes).collect()
}

fn digest(content: &[u8]) -> Vec<u8> {
    slipway_context::Digest::of(content).as_bytes().to_vec()
}

async fn build(fake: &Fake, dir: &Path) -> Output {
    let output = run(fake, dir, &["build"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    output
}

/// Syncs, checks and bytes of frames since the last time, as they were counted.
fn trips(fake: &Fake) -> (usize, usize) {
    let mut told = fake.told();
    (std::mem::take(&mut told.syncs), std::mem::take(&mut told.checks))
}

/// The file that remembers what was synced.
fn memory(dir: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(dir.join(".cache/slipway/synced")).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none(), "the context's alone: the Dockerfile's root went with the request");
    file
}

/// A project whose context is too large to be sent unasked.
fn large_project() -> tempfile::TempDir {
    let dir = project();
    fs::write(dir.path().join(".dockerignore"), ".cache\n").unwrap();
    fs::write(dir.path().join("noise"), noise(700_000, 1)).unwrap();
    fs::write(dir.path().join("text"), "the same again and again\n".repeat(30_000)).unwrap();
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changed_is_one_request_and_an_edit_is_two() {
    let fake = Fake::start(Script { events: build_events(), ..Script::default() }).await;
    let dir = large_project();
    build(&fake, dir.path()).await;
    assert_eq!(trips(&fake), (1, 2), "without a memory: the nodes and a question, then the contents");
    assert!(fake.told().received.values().all(|times| *times == 1));
    {
        let told = fake.told();
        assert!(told.raw_frames > 0 && told.zstd_frames > 0, "noise as it is, text compressed");
    }
    build(&fake, dir.path()).await;
    assert_eq!(trips(&fake), (0, 0));

    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/new"), "new").unwrap();
    fake.told().received.clear();
    build(&fake, dir.path()).await;
    assert_eq!(trips(&fake), (1, 1));
    let received: Vec<_> = fake.told().received.keys().cloned().collect();
    assert_eq!(received.len(), 3, "the content, its directory and the root");
    assert!(received.contains(&digest(b"new")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_project_is_sent_at_once() {
    let fake = Fake::start(Script { events: build_events(), ..Script::default() }).await;
    let dir = project();
    build(&fake, dir.path()).await;
    assert_eq!(trips(&fake), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_that_is_damaged_or_wrong_changes_nothing() {
    let fake = Fake::start(Script { events: build_events(), ..Script::default() }).await;
    let dir = large_project();
    build(&fake, dir.path()).await;
    let file = memory(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    bytes[20] ^= 1;
    fs::write(&file, bytes).unwrap();
    fs::write(dir.path().join("text"), "one").unwrap();
    trips(&fake);
    build(&fake, dir.path()).await;
    assert_eq!(trips(&fake), (1, 2), "as without one");
    // Now it is whole again, and the service has lost everything.
    fake.told().blobs.clear();
    fs::write(dir.path().join("text"), "two").unwrap();
    build(&fake, dir.path()).await;
    let told = fake.told();
    for content in [noise(700_000, 1).as_slice(), b"two", MANIFEST.as_bytes()] {
        assert!(told.blobs.contains_key(&digest(content)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_is_cut_goes_on_where_it_was_and_says_so_once() {
    let script = Script { events: build_events(), cut_syncs: vec![3, 2], ..Script::default() };
    let fake = Fake::start(script).await;
    let dir = project();
    for number in 0..20 {
        fs::write(dir.path().join(format!("noise-{number:02}")), noise(400_000, number)).unwrap();
    }
    let output = build(&fake, dir.path()).await;
    assert_eq!(trips(&fake).0, 3);
    let told = fake.told();
    let again = told.received.values().filter(|times| **times > 1).count();
    assert_eq!(again, 0, "what had arrived is not sent again");
    let said = text(&output.stderr);
    assert_eq!(said.matches("lost the connection to").count(), 2, "{said}");
    assert!(said.contains(&fake.url) && said.contains("going on with the sync"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_no_part_of_the_job_is_not_given_away() {
    let fake = Fake::start(Script { asks_for: digest(b"secret"), ..Script::default() }).await;
    let dir = project();
    let output = run(&fake, dir.path(), &["build"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("asks for blob"), "{}", text(&output.stderr));
    assert!(fake.told().cancelled, "nothing waits for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_never_has_enough_is_left() {
    let fake = Fake::start(Script { asks_for: digest(MANIFEST.as_bytes()), ..Script::default() }).await;
    let dir = project();
    let output = run(&fake, dir.path(), &["build"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("still lacks 1 blobs"), "{}", text(&output.stderr));
}
