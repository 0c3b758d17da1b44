//! Nothing runs on: after Stop, after Finish, after the channel's end, whatever the processes do against it.

use std::{
    io::{Read, Write},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use slipway_runner_agent::{Frame, FromAgent, Hello, PROTOCOL, ToAgent};

use crate::driver::{Agent, BINARY, Outcome, eventually, hello, kill, processes_with, shell, spawn};

/// A duration for `sleep` that no other test uses, to find its processes by.
fn marker() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("9{:07}{:02}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A child, one in a session of its own, an orphan, and a shell that ignores TERM.
fn stubborn_tree(marker: &str) -> String {
    format!(
        "sleep {marker} & setsid sleep {marker} & (setsid sh -c 'sleep {marker} & sleep {marker}' &) ; \
         trap '' TERM; echo on; sleep {marker}; sleep {marker}"
    )
}

/// Takes frames until `Stopped`.
fn until_stopped(agent: &Agent) -> Outcome {
    let outcome = agent.outcome(1);
    loop {
        match agent.next() {
            FromAgent::Stopped => return outcome,
            FromAgent::Output(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn stop_ends_the_whole_tree() {
    let mut agent = Agent::start();
    let marker = marker();
    agent.run_until_line(shell(1, &stubborn_tree(&marker)));
    eventually("the tree", || processes_with(&marker) >= 5);
    let begin = Instant::now();
    agent.send(&ToAgent::Stop { grace_ms: None });
    let FromAgent::Exit(exit) = agent.next() else { panic!() };
    assert_eq!(exit.signal, Some(9));
    assert!(matches!(agent.next(), FromAgent::Stopped));
    assert!(begin.elapsed() >= Duration::from_millis(300), "the grace period is kept");
    assert_eq!(processes_with(&marker), 0);
    // After that, others may run: a clean-up, or what saves artifacts.
    assert_eq!(agent.run(shell(2, "exit 3")).exit.exit_code, Some(3));
    agent.finish();
}

/// As in a container: the agent as the first process of a namespace. Where none can be made there is nothing to test, but in CI
/// there is.
fn first_process() -> Option<Agent> {
    let arguments = ["--pid", "--fork", "--mount-proc"];
    if !process::Command::new("unshare").args(arguments).arg("true").status().is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "no namespace of processes can be made");
        return None;
    }
    let agent = Agent::start_by(process::Command::new("unshare").args(arguments).arg(BINARY), &hello());
    assert_eq!(agent.ready.pid, 1);
    Some(agent)
}

#[test]
fn as_the_first_process() {
    let Some(mut agent) = first_process() else { return };
    let marker = marker();
    agent.run_until_line(shell(1, &stubborn_tree(&marker)));
    eventually("the tree", || processes_with(&marker) >= 5);
    agent.send(&ToAgent::Stop { grace_ms: None });
    assert_eq!(until_stopped(&agent).exit.signal, Some(9));
    assert_eq!(processes_with(&marker), 0);
    assert_eq!(agent.run(shell(1, "exit 3")).exit.exit_code, Some(3));
    agent.finish();
}

#[test]
fn orphans_leave_no_zombies() {
    const ORPHANS: usize = 200;
    let Some(mut agent) = first_process() else { return };
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("end").to_str().unwrap().to_owned();
    // Each waits for somebody who writes, in a session of its own, and has lost its parent.
    let script = format!(
        "mkfifo {fifo}; i=0; while [ $i -lt {ORPHANS} ]; do (setsid cat {fifo} >/dev/null 2>&1 &); i=$((i + 1)); done"
    );
    assert_eq!(agent.run(shell(1, &script)).exit.exit_code, Some(0));
    eventually("the orphans", || processes_with(&fifo) == ORPHANS);
    // They end all at once, and their ends are no other command's.
    eventually("their end", || {
        assert_eq!(agent.run(shell(2, &format!(": <> {fifo}; exit 3"))).exit.exit_code, Some(3));
        processes_with(&fifo) == 0
    });
    let zombies = "grep -lE '^State:[[:space:]]+Z' /proc/[0-9]*/status 2>/dev/null | wc -l";
    eventually("no zombie", || agent.run(shell(3, zombies)).text().trim() == "0");
    agent.finish();
}

#[test]
fn stop_gives_time_to_clean_up_and_no_more_than_needed() {
    let mut agent = Agent::start_with(&Hello { grace_ms: 20_000, ..hello() });
    let begin = Instant::now();
    let marker = marker();
    let script = "trap 'echo cleaning; sleep 0.2; echo done; exit 9' TERM; echo on; sleep MARKER & wait";
    agent.run_until_line(shell(1, &script.replace("MARKER", &marker)));
    // A shell's child that gets TERM before it has become `sleep` loses it.
    eventually("the child", || processes_with(&marker) == 1);
    agent.send(&ToAgent::Stop { grace_ms: None });
    let mut text = Vec::new();
    let exit = loop {
        match agent.next() {
            FromAgent::Output(output) => text.extend(output.bytes),
            FromAgent::Exit(exit) => break exit,
            other => panic!("{other:?}"),
        }
    };
    assert!(text.ends_with(b"cleaning\ndone\n"), "{}", String::from_utf8_lossy(&text));
    assert_eq!(exit.exit_code, Some(9));
    assert!(matches!(agent.next(), FromAgent::Stopped));
    assert!(begin.elapsed() < Duration::from_secs(10));
    agent.finish();
}

#[test]
fn a_second_stop_kills_at_once() {
    let mut agent = Agent::start_with(&Hello { grace_ms: 60_000, ..hello() });
    agent.run_until_line(shell(1, "trap '' TERM; echo on; while :; do sleep 0.1; done"));
    agent.send(&ToAgent::Stop { grace_ms: None });
    agent.send(&ToAgent::Stop { grace_ms: None });
    assert_eq!(until_stopped(&agent).exit.signal, Some(9));
    agent.finish();
}

#[test]
fn a_stop_may_name_another_grace_period_and_a_later_one_may_shorten_it() {
    let begin = Instant::now();
    let cleaning = "trap 'sleep 0.5; exit 9' TERM; echo on; while :; do sleep 0.1; done";
    let mut agent = Agent::start_with(&Hello { grace_ms: 1, ..hello() });
    agent.run_until_line(shell(1, cleaning));
    agent.send(&ToAgent::Stop { grace_ms: Some(60_000) });
    let exit = loop {
        match agent.next() {
            FromAgent::Exit(exit) => break exit,
            // A shell that tells what it saw die.
            FromAgent::Output(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(exit.exit_code, Some(9));
    assert!(matches!(agent.next(), FromAgent::Stopped));
    agent.finish();
    let mut agent = Agent::start_with(&Hello { grace_ms: 60_000, ..hello() });
    agent.run_until_line(shell(1, "trap '' TERM; echo on; while :; do sleep 0.1; done"));
    agent.send(&ToAgent::Stop { grace_ms: None });
    agent.send(&ToAgent::Stop { grace_ms: Some(100) });
    agent.send(&ToAgent::Stop { grace_ms: Some(u64::MAX) });
    assert_eq!(until_stopped(&agent).exit.signal, Some(9));
    assert!(begin.elapsed() < Duration::from_secs(30), "a later one makes it no longer");
    agent.finish();
}

#[test]
fn stop_wakes_what_is_stopped() {
    let mut agent = Agent::start_with(&Hello { grace_ms: 60_000, ..hello() });
    agent.run_until_line(shell(1, "echo on; kill -STOP $$"));
    agent.send(&ToAgent::Stop { grace_ms: None });
    assert_eq!(until_stopped(&agent).exit.signal, Some(15));
    agent.finish();
}

#[test]
fn stop_with_nothing_running_is_answered() {
    let mut agent = Agent::start();
    agent.send(&ToAgent::Stop { grace_ms: None });
    assert!(matches!(agent.next(), FromAgent::Stopped));
    assert_eq!(agent.run(shell(2, "exit 3")).exit.exit_code, Some(3));
    agent.finish();
}

#[test]
fn processes_that_multiply_are_ended() {
    let mut agent = Agent::start();
    let marker = marker();
    // Each shell ignores TERM and starts another before it goes.
    let script = format!("trap '' TERM; echo on; f() {{ sleep {marker} & sleep 0.01; (f &) ; }}; f; wait");
    agent.run_until_line(shell(1, &script));
    agent.send(&ToAgent::Stop { grace_ms: None });
    until_stopped(&agent);
    assert_eq!(processes_with(&marker), 0);
    agent.finish();
}

#[test]
fn a_blocked_reader_does_not_keep_anything_alive() {
    // Nobody reads the agent's stdout, and the command has filled everything up.
    let mut child = spawn();
    let marker = marker();
    let script = format!("trap '' TERM; sleep {marker} & yes; sleep {marker}");
    let mut bytes = Vec::new();
    for frame in [ToAgent::Hello(hello()), ToAgent::Run(shell(1, &script))] {
        frame.encode(&mut bytes).unwrap();
    }
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&bytes).unwrap();
    eventually("the command", || processes_with(&marker) > 0);
    drop(stdin);
    eventually("the agent's end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(processes_with(&marker), 0);
}

#[test]
fn the_end_of_the_channel_ends_everything() {
    let mut agent = Agent::start();
    let marker = marker();
    agent.run_until_line(shell(1, &stubborn_tree(&marker)));
    eventually("the tree", || processes_with(&marker) >= 5);
    agent.stdin = None;
    assert_eq!(agent.wait(), Some(1));
    assert_eq!(processes_with(&marker), 0);
}

#[test]
fn stdout_that_cannot_be_written_ends_everything() {
    let mut child = spawn();
    let marker = marker();
    let script = format!("sleep {marker} & echo on; sleep 0.5; echo more; sleep {marker}");
    let mut bytes = Vec::new();
    for frame in [ToAgent::Hello(hello()), ToAgent::Run(shell(1, &script))] {
        frame.encode(&mut bytes).unwrap();
    }
    child.stdin.as_mut().unwrap().write_all(&bytes).unwrap();
    eventually("the command", || processes_with(&marker) > 0);
    drop(child.stdout.take());
    eventually("the agent's end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(processes_with(&marker), 0);
}

#[test]
fn finish_ends_what_was_left_behind() {
    let mut agent = Agent::start_with(&Hello { grace_ms: 60_000, ..hello() });
    let marker = marker();
    let script = format!("setsid sh -c 'trap \"\" TERM; sleep {marker}; sleep {marker}' >/dev/null 2>&1 &");
    assert_eq!(agent.run(shell(1, &script)).exit.exit_code, Some(0));
    eventually("the process", || processes_with(&marker) > 0);
    agent.finish();
    assert_eq!(processes_with(&marker), 0);
}

#[test]
fn all_output_comes_before_the_end_when_stdin_ends_after_finish() {
    let mut child = spawn();
    let mut bytes = Vec::new();
    for frame in [ToAgent::Hello(hello()), ToAgent::Run(shell(1, "head -c 200000 /dev/zero"))] {
        frame.encode(&mut bytes).unwrap();
    }
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&bytes).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    bytes.clear();
    ToAgent::Finish.encode(&mut bytes).unwrap();
    stdin.write_all(&bytes).unwrap();
    drop(stdin);
    std::thread::sleep(Duration::from_millis(300));
    let mut all = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    assert!(all.len() > 200_000);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The signals that end the agent, and their numbers.
const SIGNALS: [(&str, i32); 3] = [("TERM", 15), ("INT", 2), ("HUP", 1)];

#[test]
fn a_signal_to_the_agent_ends_everything() {
    for (name, number) in SIGNALS {
        let mut agent = Agent::start();
        let marker = marker();
        agent.run_until_line(shell(1, &stubborn_tree(&marker)));
        eventually("the tree", || processes_with(&marker) >= 5);
        kill(name, &agent.child.id().to_string());
        assert_eq!(agent.wait(), Some(128 + number));
        assert_eq!(processes_with(&marker), 0);
    }
}

/// Also as the first process, whom the kernel spares the signals that it does not ask for.
#[test]
fn a_signal_to_the_agent_reaches_commands_as_term() {
    for (name, number) in SIGNALS {
        for agent in [Some(Agent::start()), first_process()] {
            let Some(mut agent) = agent else { continue };
            let script = "trap 'echo cleaning; sleep 0.1; echo done; exit 9' TERM; kill -s NAME $PPID; while :; do sleep 0.01; done";
            let outcome = agent.run(shell(1, &script.replace("NAME", name)));
            assert_eq!((outcome.text(), outcome.exit.exit_code), ("cleaning\ndone\n", Some(9)), "{name}");
            assert_eq!(outcome.warnings, [format!("the runner's first process got signal {number}")]);
            assert_eq!(agent.wait(), Some(128 + number), "{name}");
        }
    }
}

#[test]
fn misuse_ends_everything() {
    let mut agent = Agent::start();
    let marker = marker();
    agent.run_until_line(shell(1, &stubborn_tree(&marker)));
    agent.stdin.as_mut().unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(agent.wait(), Some(2));
    assert_eq!(processes_with(&marker), 0);
}

#[test]
fn hello_comes_first_and_has_our_version() {
    let wrong = Hello { protocol: PROTOCOL + 1, ..hello() };
    for frame in [ToAgent::Run(shell(1, "true")), ToAgent::Hello(wrong)] {
        let mut child = spawn();
        let mut bytes = Vec::new();
        frame.encode(&mut bytes).unwrap();
        child.stdin.as_mut().unwrap().write_all(&bytes).unwrap();
        eventually("the agent's end", || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(2));
    }
}
