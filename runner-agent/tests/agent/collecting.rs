//! Files that a command has left.

use std::{fs, path::Path};

use slipway_runner_agent::{Artifact, Collect, Collected, FromAgent, Run, ToAgent};

use crate::driver::{Agent, shell};

fn collect(folder: &Path, path: &str) -> ToAgent {
    let artifacts = vec![Artifact { path: path.to_owned(), destination: None }];
    ToAgent::Collect(Collect { folder: folder.to_owned(), artifacts, max_files: 10, max_bytes: 100 << 20 })
}

/// The archive, and what was said of it.
fn collected(agent: &Agent) -> (Vec<u8>, Collected) {
    let mut archive = Vec::new();
    loop {
        match agent.next() {
            FromAgent::Artifacts(bytes) => archive.extend(bytes),
            FromAgent::Collected(collected) => return (archive, collected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_a_failed_command_left_comes_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start();
    let script = "mkdir out; head -c 5000003 /dev/urandom >out/large; echo x >out/small; exit 3";
    let outcome = agent.run(Run { cwd: dir.path().to_owned(), ..shell(0, script) });
    assert_eq!(outcome.exit.exit_code, Some(3));
    agent.send(&collect(dir.path(), "out/*"));
    let (archive, told) = collected(&agent);
    assert_eq!(told.files, [("out/large".to_owned(), 5_000_003), ("out/small".to_owned(), 2)]);
    let to = tempfile::tempdir().unwrap();
    tar::Archive::new(archive.as_slice()).unpack(to.path()).unwrap();
    assert!(fs::read(to.path().join("out/large")).unwrap() == fs::read(dir.path().join("out/large")).unwrap());

    // Once more, and then nothing.
    agent.send(&collect(dir.path(), "gone"));
    assert_eq!(collected(&agent).1.unmatched, ["gone"]);
    agent.finish();
}

#[test]
fn nothing_is_sent_while_a_command_runs() {
    let mut agent = Agent::start();
    agent.run_until_line(shell(0, "echo begun; sleep 100"));
    agent.send(&collect(Path::new("/"), "etc/hostname"));
    assert_eq!(collected(&agent).1.problems, ["commands are running"]);
    agent.send(&ToAgent::Stop { grace_ms: None });
    agent.outcome(0);
    assert!(matches!(agent.next(), FromAgent::Stopped));
    agent.finish();
}
