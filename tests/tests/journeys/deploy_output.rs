//! What commands write arrives: all of it, by stream, whatever it is.

use std::time::Duration;

use slipway_journeys::{Service, process};

#[test]
fn output_comes_by_stream_with_its_line_ends() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["printf 'out 1\\r\\nno end'; printf 'err 1\\n' >&2", "printf 'next'"]);
    let run = app.events(&["deploy"]).ok();
    assert_eq!(run.output("stdout"), b"out 1\r\nno endnext");
    assert_eq!(run.output("stderr"), b"err 1\n");
    let indexes: Vec<_> = run.all("command.log").iter().map(|log| log["index"].as_u64().unwrap()).collect();
    assert_eq!((indexes.first(), indexes.last()), (Some(&0), Some(&1)));
    let sequence: Vec<_> = run.events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(sequence, (1..=run.events.len() as u64).collect::<Vec<_>>(), "numbered without gaps");
}

#[test]
fn twenty_megabytes_of_output_are_complete() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["seq 1 2800000"]);
    let run = app.events(&["deploy"]).ok();
    let said = run.said();
    assert!(said.len() > 20_000_000);
    let expected = (1..=2_800_000).fold(String::new(), |text, n| text + &n.to_string() + "\n");
    assert!(said == expected, "{} bytes came, {} were written", said.len(), expected.len());

    // Later readers get the same, from the segments on disk.
    let again = app.team.slipway(["job", "logs", &run.job(), "--output", "json"]).ok();
    assert!(again.said() == expected);
    assert_eq!(again.events, run.events);
}

#[test]
fn output_that_is_not_utf8_arrives_as_data() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&[
        r"printf '\377\376binary\000'",
        "for b in 303 251; do printf \"\\\\$b\"; sleep 0.3; done; printf x >&2",
    ]);
    let run = app.events(&["deploy"]).ok();
    let first: Vec<_> = run.all("command.log").into_iter().filter(|log| log["index"] == 0).collect();
    assert!(first.iter().any(|log| log["data"].is_string()), "{first:?}");
    assert!(first.iter().all(|log| log["data"].is_string() != log["text"].is_string()), "one of the two: {first:?}");
    let out = run.output("stdout");
    assert_eq!(out, [b"\xff\xfebinary\0".as_slice(), "é".as_bytes()].concat());
    let second: Vec<_> = run.all("command.log").into_iter().filter(|log| log["index"] == 1).collect();
    assert!(second.iter().all(|log| log["text"].is_string()), "a character that comes in two parts is one: {second:?}");
}

/// Fifty megabytes, of which no process of ours holds much.
#[test]
fn a_build_steps_output_is_complete_and_takes_little_memory() {
    const LINES: u32 = 6_400_000;
    const MOST: u64 = 150_000_000;
    let service = Service::start();
    let app = service.team().project();
    app.image(&format!("FROM debian:trixie-slim\nRUN seq 1 {LINES}\n"));
    let job = app.detach(&["build", "--no-cache"]);
    let (mut peak, mut looks) = (0, 0);
    while !["succeeded", "failed"].contains(&app.team.show(&job)["state"].as_str().unwrap()) {
        for _ in 0..20 {
            let jobs = service.job_processes(&job).into_iter().map(|process| process.pid);
            peak = jobs.chain([service.pid()]).filter_map(process::anonymous_memory).fold(peak, u64::max);
            looks += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    assert!(looks > 40 && (1..MOST).contains(&peak), "{peak} bytes in {looks} looks");
    // Not by events, of which a test would hold a hundred times as many bytes.
    let logs = app.team.slipway(["job", "logs", &job]).ok();
    let said = logs.out();
    let mut next = 1;
    for line in said.lines() {
        let number = line.rsplit(' ').next().and_then(|word| word.parse::<u32>().ok());
        next += u32::from(number == Some(next));
    }
    assert_eq!(next - 1, LINES, "all lines, in order");
}

#[test]
fn output_shows_while_the_command_runs() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["echo early; sleep 2; echo late"]);
    let running = app.start_events(&["deploy"]);
    running.says("early");
    assert!(running.is_running());
    let run = running.finish().ok();
    assert_eq!(run.said(), "early\nlate\n");
}
