//! What all commands may use together.

use std::time::{Duration, Instant};

use slipway_runner_agent::{Exit, Hello, Limit, Limits};

use crate::driver::{Agent, hello, shell};

fn limited(limits: Limits) -> Agent {
    Agent::start_with(&Hello { limits, ..hello() })
}

/// What ended a command, which has to be a limit.
fn ended(limits: Limits, script: &str) -> (Exit, Duration) {
    let mut agent = limited(limits);
    let began = Instant::now();
    let exit = agent.run(shell(1, script)).exit;
    let took = began.elapsed();
    assert!(exit.exceeded.is_some(), "{exit:?}");
    let next = agent.run(shell(2, "echo never"));
    assert_eq!((next.stdout.as_slice(), next.exit.exceeded), (&b""[..], exit.exceeded), "nothing is started any more");
    agent.finish();
    (exit, took)
}

fn exceeded(exit: &Exit) -> (Limit, u64, u64) {
    let exceeded = exit.exceeded.unwrap();
    (exceeded.limit, exceeded.allowed, exceeded.found)
}

#[test]
fn time_is_that_of_all_commands() {
    let mut agent = limited(Limits { time_ms: 1500, ..Limits::default() });
    assert_eq!(agent.run(shell(1, "sleep 0.8")).exit.exceeded, None);
    let exit = agent.run(shell(2, "sleep 60")).exit;
    let (limit, allowed, found) = exceeded(&exit);
    assert_eq!((limit, allowed, exit.signal), (Limit::Time, 1500, Some(15)));
    assert!((1500..20_000).contains(&found), "{found}");
    agent.finish();
    // Who does not end is ended.
    let (exit, took) = ended(Limits { time_ms: 300, ..Limits::default() }, "trap '' TERM; while :; do sleep 0.1; done");
    assert_eq!(exit.signal, Some(9));
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn memory_processors_time_and_processes_are_watched() {
    let memory = Limits { memory_bytes: 50 << 20, ..Limits::default() };
    let (exit, _) = ended(memory, "x=$(head -c 100000000 /dev/zero | tr '\\0' x); sleep 60; echo ${#x}");
    let (limit, _, found) = exceeded(&exit);
    assert!(limit == Limit::Memory && found > 50 << 20, "{exit:?}");

    let (exit, _) = ended(Limits { cpu_ms: 500, ..Limits::default() }, "(while :; do :; done) & wait");
    let (limit, _, found) = exceeded(&exit);
    assert!(limit == Limit::Cpu && found > 500, "{exit:?}");

    let many = "for n in 1 2 3 4 5 6 7 8; do sleep 60 & done; wait";
    let (exit, _) = ended(Limits { pids: 6, ..Limits::default() }, many);
    assert_eq!(exceeded(&exit).0, Limit::Pids);
}

#[test]
fn what_stays_within_its_limits_is_left_alone() {
    let limits =
        Limits { time_ms: 60_000, memory_bytes: 1 << 30, cpu_ms: 60_000, pids: 100, output_bytes_per_s: 1 << 30 };
    let mut agent = limited(limits);
    let outcome = agent.run(shell(1, "echo hello; sleep 1.2; echo bye"));
    assert_eq!((outcome.stdout.as_slice(), outcome.exit.exit_code), (&b"hello\nbye\n"[..], Some(0)));
    assert_eq!(outcome.exit.exceeded, None);
    agent.finish();
}

#[test]
fn output_above_its_rate_waits_and_is_complete() {
    let mut agent = limited(Limits { output_bytes_per_s: 100_000, ..Limits::default() });
    let began = Instant::now();
    let outcome = agent.run(shell(1, "head -c 250000 /dev/zero"));
    assert_eq!((outcome.stdout.len(), outcome.exit.exit_code), (250_000, Some(0)));
    assert!(began.elapsed() > Duration::from_millis(1300), "{:?}", began.elapsed());
    let warnings = outcome.warnings;
    assert!(matches!(&warnings[..], [text] if text.contains("100000 bytes a second")), "{warnings:?}");
    agent.finish();
}
