//! Ctrl-C while files are read: the end comes at once, wherever that is done.

use super::*;

/// Longer than any test waits, and nothing on the disk: so much that it is read for minutes.
const ENDLESS: u64 = 500 << 30;

const NAME: &str = "endless";

/// A project whose image needs a file that is endless, or not.
fn endless(copy: &str) -> tempfile::TempDir {
    let dir = project();
    fs::write(dir.path().join("Dockerfile"), format!("FROM scratch\nCOPY {copy} /\n")).unwrap();
    fs::File::create(dir.path().join(NAME)).unwrap().set_len(ENDLESS).unwrap();
    dir
}

/// Waits until the process reads the endless file.
async fn reads_it(pid: u32) {
    let end = Instant::now() + Duration::from_mins(1);
    while Instant::now() < end {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let mut targets = open.filter_map(|fd| fs::read_link(fd.path()).ok());
        if targets.any(|target| target.file_name().is_some_and(|name| name == NAME)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{NAME} was never read");
}

/// Starts a command, interrupts it while it reads the endless file, and gives what it said; the status is 130.
async fn interrupted(fake: &Fake, dir: &Path, args: &[&str]) -> Output {
    let mut command = slipway(fake, dir, args);
    let child = command.env("SLIPWAY_NAMESPACE", "dev").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().unwrap();
    reads_it(pid).await;
    assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().await.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await;
    let output = ended.unwrap_or_else(|_| panic!("{args:?} went on reading")).unwrap();
    assert_eq!(output.status.code(), Some(130), "{args:?} {}", text(&output.stderr));
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_every_scan_at_once() {
    let fake = Fake::start(Script::default()).await;
    let dir = endless(".");
    for args in [
        &["build"][..],
        &["build", "--detach"],
        &["build", "--print"],
        &["deploy"],
        &["deploy", "--no-build"],
        &["files"],
        &["files", "--for", "deploy", "--long"],
    ] {
        let output = interrupted(&fake, dir.path(), args).await;
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    assert!(fake.told().submits.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_scan_that_the_service_asked_for_at_once() {
    let fake = Fake::start(Script { widen: true, ..Script::default() }).await;
    let dir = endless("okteto.yaml");
    for args in [&["build"][..], &["build", "--detach"]] {
        let output = interrupted(&fake, dir.path(), args).await;
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("", ""),
            "no job was made, so there is nothing to say"
        );
    }
    let told = fake.told();
    assert_eq!((told.submits.len(), told.cancelled), (2, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_asks_for_is_scanned_and_sent() {
    let fake = Fake::start(Script { widen: true, events: build_events(), ..Script::default() }).await;
    let dir = project();
    fs::write(dir.path().join("Dockerfile"), "FROM scratch\nCOPY okteto.yaml /\n").unwrap();
    fs::write(dir.path().join("other"), "widened").unwrap();
    let output = run(&fake, dir.path(), &["build"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = fake.told();
    assert_eq!(told.submits.len(), 2);
    assert!(told.blobs.values().any(|(_, content)| content == b"widened"));
}
