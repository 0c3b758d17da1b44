//! Commands: how they start, what they print, how they end.

use std::{
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use slipway_runner_agent::{Decoder, Frame, FromAgent, MAX_ENV_FILE, PROTOCOL, Run, ToAgent};

use crate::driver::{Agent, hello, kill, shell, spawn};

#[test]
fn says_who_it_is() {
    let agent = Agent::start();
    assert_eq!(agent.ready.protocol, PROTOCOL);
    assert_eq!(agent.ready.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(agent.ready.pid, agent.child.id());
    assert!(agent.ready.listening.is_empty());
    agent.finish();
}

#[test]
fn exit_codes_one_after_another() {
    let mut agent = Agent::start();
    for code in [0, 1, 2, 42, 127, 255] {
        let outcome = agent.run(shell(code, &format!("exit {code}")));
        assert!(outcome.started);
        assert_eq!(outcome.exit.exit_code, Some(code as i32));
        assert_eq!((outcome.exit.signal, outcome.exit.error), (None, None));
        assert_eq!(outcome.exit.env_file, None);
    }
    agent.finish();
}

#[test]
fn death_by_a_signal() {
    let mut agent = Agent::start();
    for signal in [9, 11, 15] {
        let outcome = agent.run(shell(1, &format!("kill -{signal} $$")));
        assert_eq!((outcome.exit.exit_code, outcome.exit.signal), (None, Some(signal)));
    }
    agent.finish();
}

#[test]
fn stdout_and_stderr_apart() {
    let mut agent = Agent::start();
    let outcome = agent.run(shell(3, "printf out; printf err >&2; printf more; cat"));
    assert_eq!(outcome.stdout, b"outmore");
    assert_eq!(outcome.stderr, b"err");
    agent.finish();
}

#[test]
fn fifty_megabytes_arrive_exactly() {
    let mut agent = Agent::start();
    // Both streams at once, neither with a line end in a place of its own; the first is far from any block's size.
    let script = "yes 0123456789abcdef | head -c 50000003; exec 1>&2; yes x | head -c 3000001";
    let outcome = agent.run(shell(1, script));
    assert_eq!(outcome.stdout.len(), 50_000_003);
    let line = b"0123456789abcdef\n";
    assert!(outcome.stdout.chunks(line.len()).all(|chunk| line.starts_with(chunk)));
    assert_eq!(outcome.stderr.len(), 3_000_001);
    assert!(outcome.stderr.chunks(2).all(|chunk| b"x\n".starts_with(chunk)));
    agent.finish();
}

#[test]
fn a_slow_reader_loses_nothing() {
    // Nothing is read from the agent at first. Its buffers and the pipes hold about 450 to 750 KB: some of the commands
    // end while part of their output is still in their pipes, for longer than a pipe is waited for.
    let sizes = (400..800).step_by(50).map(|kilobytes| kilobytes * 1000);
    let started: Vec<_> = sizes.map(|size| (size, start_unread(size))).collect();
    std::thread::sleep(Duration::from_millis(1500));
    for (size, mut child) in started {
        let mut decoder = Decoder::<FromAgent>::new();
        let mut stdout = child.stdout.take().unwrap();
        let (mut seen, mut ended, mut block) = (0, false, vec![0; 100_000]);
        while let Ok(count @ 1..) = stdout.read(&mut block) {
            decoder.feed(&block[..count]);
            while let Some(frame) = decoder.next_frame().unwrap() {
                match frame {
                    FromAgent::Output(output) => seen += output.bytes.len(),
                    FromAgent::Exit(exit) => {
                        assert_eq!((exit.exit_code, seen), (Some(0), size));
                        ended = true;
                        child.stdin = None;
                    }
                    _ => {}
                }
            }
        }
        assert!(ended);
        child.wait().unwrap();
    }
}

fn start_unread(size: usize) -> std::process::Child {
    let mut child = spawn();
    let mut bytes = Vec::new();
    for frame in [ToAgent::Hello(hello()), ToAgent::Run(shell(1, &format!("head -c {size} /dev/zero")))] {
        frame.encode(&mut bytes).unwrap();
    }
    child.stdin.as_mut().unwrap().write_all(&bytes).unwrap();
    child
}

#[test]
fn what_looks_like_a_frame_is_output() {
    let mut agent = Agent::start();
    let outcome = agent.run(shell(1, r"printf '\000\000\000\000\204\000\000\000\000\204'; exit 3"));
    assert_eq!(outcome.stdout, b"\0\0\0\0\x84\0\0\0\0\x84");
    assert_eq!(outcome.exit.exit_code, Some(3));
    agent.finish();
}

#[test]
fn the_environment_is_complete_and_exact() {
    let mut agent = Agent::start();
    let value = "a\nb 'single' \"double\" `tick` $HOME \\ \t \u{1F980} =";
    let mut run = shell(1, "env -0");
    run.env.push(("ODD".to_owned(), value.to_owned()));
    run.env.push(("EMPTY".to_owned(), String::new()));
    let outcome = agent.run(run);
    let mut seen: Vec<&str> = outcome.text().trim_end_matches('\0').split('\0').collect();
    // What the shell adds itself.
    seen.retain(|entry| !["PWD=/", "OLDPWD=/", "SHLVL=0", "_=/usr/bin/env"].contains(entry));
    seen.sort_unstable();
    assert_eq!(seen, ["EMPTY=", &format!("ODD={value}"), "PATH=/usr/bin:/bin"]);
    agent.finish();
}

#[test]
fn a_large_environment_fits() {
    let mut agent = Agent::start();
    let mut run = shell(1, "printf %s \"$V7\" | wc -c");
    run.env.extend((0..10).map(|n| (format!("V{n}"), "v".repeat(100_000))));
    assert_eq!(agent.run(run).text().trim(), "100000");
    // Linux allows 128 KiB for one string: more has to be an error that says so.
    let outcome = agent.run(shell(2, &format!("true {}", "x".repeat(200_000))));
    assert!(outcome.exit.error.unwrap().contains("128 KiB"));
    agent.finish();
}

#[test]
fn impossible_variables_are_named() {
    let mut agent = Agent::start();
    for (name, value) in [("", "x"), ("A=B", "x"), ("NUL", "a\0b")] {
        let mut run = shell(1, "true");
        run.env.push((name.to_owned(), value.to_owned()));
        let outcome = agent.run(run);
        assert!(!outcome.started);
        assert!(outcome.exit.error.unwrap().contains(&format!("`{name}`")));
    }
    agent.finish();
}

#[test]
fn the_variables_file_comes_back() {
    let mut agent = Agent::start();
    let mut run =
        shell(1, "stat -c '%a %s' \"$OKTETO_ENV\"; printf 'A=1\nB=\"x y\"\n\\377' >> \"$OKTETO_ENV\"; exit 4");
    run.env_file = true;
    let outcome = agent.run(run);
    assert_eq!(outcome.text(), "600 0\n");
    assert_eq!(outcome.exit.env_file.as_deref(), Some(b"A=1\nB=\"x y\"\n\xff".as_slice()));
    assert_eq!(outcome.exit.exit_code, Some(4));

    // Each command has its own, and it's gone afterwards.
    let mut run = shell(2, "cat \"$OKTETO_ENV\"; echo \"$OKTETO_ENV\"");
    run.env_file = true;
    let outcome = agent.run(run);
    assert_eq!(outcome.exit.env_file.as_deref(), Some(b"".as_slice()));
    assert!(!std::path::Path::new(outcome.text().trim_end()).exists());
    agent.finish();
}

#[test]
fn odd_variables_files() {
    let mut agent = Agent::start();
    let too_large = format!("head -c {} /dev/zero > \"$OKTETO_ENV\"", MAX_ENV_FILE + 1);
    let pipe = "rm \"$OKTETO_ENV\"; mkfifo \"$OKTETO_ENV\"";
    for (script, hint) in [(too_large.as_str(), "larger than"), (pipe, "not a regular file")] {
        let mut run = shell(1, script);
        run.env_file = true;
        let outcome = agent.run(run);
        assert_eq!((outcome.exit.exit_code, outcome.exit.env_file), (Some(0), None), "{script}");
        assert!(outcome.warnings.iter().any(|warning| warning.contains(hint)), "{:?}", outcome.warnings);
    }
    let mut run = shell(2, "rm \"$OKTETO_ENV\"");
    run.env_file = true;
    assert_eq!(agent.run(run).exit.env_file.as_deref(), Some(b"".as_slice()));
    agent.finish();
}

#[test]
fn the_working_directory() {
    let mut agent = Agent::start();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let outcome = agent.run(Run { cwd: dir.clone(), ..shell(1, "pwd") });
    assert_eq!(outcome.text().trim_end(), dir.to_str().unwrap());
    let outcome = agent.run(Run { cwd: dir.join("missing"), ..shell(2, "pwd") });
    assert!(!outcome.started);
    assert!(outcome.exit.error.unwrap().contains("working directory"));
    agent.finish();
}

#[test]
fn the_program_is_found_in_the_given_path() {
    let mut agent = Agent::start();
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("only-here");
    std::fs::write(&program, "#!/bin/sh\necho found\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut run = Run { argv: vec!["only-here".to_owned()], ..shell(1, "") };
    run.env = vec![("PATH".to_owned(), dir.path().to_str().unwrap().to_owned())];
    assert_eq!(agent.run(run).text(), "found\n");
    agent.finish();
}

#[test]
fn a_missing_shell_is_named() {
    let mut agent = Agent::start();
    let dir = tempfile::tempdir().unwrap();
    let mut run = shell(1, "true");
    run.env = vec![("PATH".to_owned(), dir.path().to_str().unwrap().to_owned())];
    let outcome = agent.run(run.clone());
    assert!(!outcome.started);
    assert_eq!(outcome.exit.error.as_deref(), Some("no such file `sh`: the image has no such shell"));
    run.argv = vec!["/no/such/program".to_owned()];
    assert_eq!(agent.run(run.clone()).exit.error.as_deref(), Some("no such file `/no/such/program`"));
    run.argv = Vec::new();
    assert_eq!(agent.run(run).exit.error.as_deref(), Some("no command"));
    // None of this is the end.
    assert_eq!(agent.run(shell(2, "exit 5")).exit.exit_code, Some(5));
    agent.finish();
}

#[test]
fn one_at_a_time() {
    let mut agent = Agent::start();
    agent.send(&ToAgent::Run(shell(1, "sleep 0.3")));
    agent.send(&ToAgent::Run(shell(2, "true")));
    assert!(matches!(agent.next(), FromAgent::Started { index: 1, .. }));
    let FromAgent::Exit(exit) = agent.next() else { panic!() };
    assert_eq!((exit.index, exit.error.as_deref()), (2, Some("another command is running")));
    let FromAgent::Exit(exit) = agent.next() else { panic!() };
    assert_eq!((exit.index, exit.exit_code), (1, Some(0)));
    assert!((250..5000).contains(&exit.duration_ms), "{}", exit.duration_ms);
    agent.finish();
}

#[test]
fn a_killed_sleep_is_reported_at_once() {
    let mut agent = Agent::start();
    let mut best = Duration::MAX;
    // The best of three: the machine may be busy.
    for _ in 0..3 {
        let pid = agent.run_until_line(shell(1, "echo $$; exec sleep 1000"));
        let killed = Instant::now();
        kill("KILL", pid.trim());
        let FromAgent::Exit(exit) = agent.next() else { panic!() };
        assert_eq!(exit.signal, Some(9));
        best = best.min(killed.elapsed());
    }
    assert!(best < Duration::from_millis(50), "{best:?}");
    agent.finish();
}

#[test]
fn a_background_process_does_not_hold_the_exit() {
    let mut agent = Agent::start();
    let begin = Instant::now();
    let outcome = agent.run(shell(1, "(sleep 3; echo late) & echo early; exit 6"));
    let waited = begin.elapsed();
    assert_eq!((outcome.text(), outcome.exit.exit_code), ("early\n", Some(6)));
    assert!((900..2900).contains(&waited.as_millis()), "{waited:?}");
    assert!(outcome.exit.duration_ms < 900);
    // It may write on, and is heard under its command's index.
    let FromAgent::Output(output) = agent.next() else { panic!() };
    assert_eq!((output.index, output.bytes.as_slice()), (1, b"late\n".as_slice()));
    agent.finish();
}

#[test]
fn a_background_process_that_prints_without_end_does_not_hold_the_exit() {
    let mut agent = Agent::start_with(&slipway_runner_agent::Hello { grace_ms: 100, ..hello() });
    let outcome = agent.run(shell(1, "yes & exit 6"));
    assert_eq!(outcome.exit.exit_code, Some(6));
    // Finish ends it.
    agent.finish();
}

#[test]
fn orphans_are_reaped() {
    let mut agent = Agent::start();
    let outcome = agent.run(shell(
        1,
        "for i in 1 2 3 4 5; do (sh -c 'sleep 0.05 & sleep 0.05 & exit 0' &) ; done; exec >&- 2>&-; sleep 0.5",
    ));
    assert_eq!(outcome.exit.exit_code, Some(0));
    let children = agent.run(shell(2, "grep -l \"^PPid:.*\\b$PPID$\" /proc/[0-9]*/status 2>/dev/null | wc -l"));
    // The shell that counts is the only one.
    assert_eq!(children.text().trim(), "1");
    agent.finish();
}
