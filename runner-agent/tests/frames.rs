//! Frames survive the wire, however the bytes are split, and no bytes make the decoder panic.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt::Debug;

use proptest::{collection::vec, option, prelude::*};
use slipway_runner_agent::{
    Artifact, Collect, Collected, Decoder, Exceeded, Exit, Frame, FrameError, FromAgent, HEADER, Hello, Limit, Limits,
    MAX_CONTROL, MAX_DATA, NotListening, Output, OutputStream, Ready, Run, StreamFrame, ToAgent,
};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), (0..2000_usize).prop_map(|n| vec![7; n])]
}

fn stream() -> impl Strategy<Value = StreamFrame> {
    prop_oneof![
        (any::<u32>(), bytes()).prop_map(|(id, bytes)| StreamFrame::Data { id, bytes }),
        any::<u32>().prop_map(|id| StreamFrame::End { id }),
        any::<u32>().prop_map(|id| StreamFrame::Reset { id }),
        (any::<u32>(), any::<u32>()).prop_map(|(id, credit)| StreamFrame::Window { id, credit }),
    ]
}

fn to_agent() -> impl Strategy<Value = ToAgent> {
    let limits = any::<[u64; 5]>().prop_map(|[time_ms, output_bytes_per_s, memory_bytes, cpu_ms, pids]| Limits {
        time_ms,
        output_bytes_per_s,
        memory_bytes,
        cpu_ms,
        pids,
    });
    let hello = (any::<u32>(), vec(any::<u16>(), 0..4), any::<bool>(), any::<u64>(), limits).prop_map(
        |(protocol, listen, no_listen, grace_ms, limits)| {
            let registry = no_listen.then(|| "r.example".to_owned());
            Hello { protocol, listen, no_listen, grace_ms, registry, limits }
        },
    );
    let run = (
        any::<u32>(),
        vec(any::<String>(), 0..4),
        any::<String>(),
        vec((any::<String>(), any::<String>()), 0..6),
        any::<bool>(),
    )
        .prop_map(|(index, argv, cwd, env, env_file)| Run { index, argv, cwd: cwd.into(), env, env_file });
    let artifact =
        (any::<String>(), option::of(any::<String>())).prop_map(|(path, destination)| Artifact { path, destination });
    let collect = (any::<String>(), vec(artifact, 0..4), any::<u16>(), any::<u64>()).prop_map(
        |(folder, artifacts, max_files, max_bytes)| Collect {
            folder: folder.into(),
            artifacts,
            max_files: max_files.into(),
            max_bytes,
        },
    );
    prop_oneof![
        hello.prop_map(ToAgent::Hello),
        collect.prop_map(ToAgent::Collect),
        run.prop_map(ToAgent::Run),
        proptest::option::of(any::<u64>()).prop_map(|grace_ms| ToAgent::Stop { grace_ms }),
        Just(ToAgent::Finish),
        stream().prop_map(ToAgent::Stream),
    ]
}

fn from_agent() -> impl Strategy<Value = FromAgent> {
    let not_listening = (any::<u16>(), any::<String>()).prop_map(|(port, error)| NotListening { port, error });
    let ready = (any::<[u32; 4]>(), any::<String>(), vec(any::<u16>(), 0..4), vec(not_listening, 0..3)).prop_map(
        |([protocol, pid, uid, gid], version, listening, not_listening)| Ready {
            protocol,
            version,
            pid,
            uid,
            gid,
            home: "/root".to_owned(),
            listening,
            not_listening,
        },
    );
    let output = (any::<u32>(), any::<bool>(), bytes()).prop_map(|(index, first, bytes)| Output {
        index,
        stream: if first { OutputStream::Stdout } else { OutputStream::Stderr },
        bytes,
    });
    let exit = (
        any::<u32>(),
        option::of(any::<i32>()),
        option::of(any::<i32>()),
        option::of(any::<String>()),
        option::of(any::<[u64; 2]>()),
        any::<u64>(),
        option::of(bytes()),
    )
        .prop_map(|(index, exit_code, signal, error, exceeded, duration_ms, env_file)| Exit {
            exceeded: exceeded.map(|[allowed, found]| Exceeded { limit: Limit::Cpu, allowed, found }),
            index,
            exit_code,
            signal,
            error,
            duration_ms,
            env_file,
        });
    let collected =
        (vec((any::<String>(), any::<u64>()), 0..4), vec(any::<String>(), 0..3), vec(any::<String>(), 0..3))
            .prop_map(|(files, unmatched, problems)| Collected { files, unmatched, problems });
    prop_oneof![
        ready.prop_map(FromAgent::Ready),
        bytes().prop_map(FromAgent::Artifacts),
        collected.prop_map(FromAgent::Collected),
        (any::<u32>(), any::<u32>()).prop_map(|(index, pid)| FromAgent::Started { index, pid }),
        output.prop_map(FromAgent::Output),
        exit.prop_map(FromAgent::Exit),
        Just(FromAgent::Stopped),
        any::<String>().prop_map(FromAgent::Warning),
        (any::<u32>(), any::<u16>()).prop_map(|(id, port)| FromAgent::StreamOpen { id, port }),
        stream().prop_map(FromAgent::Stream),
    ]
}

/// Encodes the frames, feeds the bytes in pieces that end at the cuts, and compares.
fn survives<F: Frame + PartialEq + Debug>(frames: &[F], cuts: &[prop::sample::Index]) {
    let mut wire = Vec::new();
    for frame in frames {
        frame.encode(&mut wire).unwrap();
    }
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
    cuts.extend([0, wire.len()]);
    cuts.sort_unstable();
    let mut decoder = Decoder::<F>::new();
    let mut seen = Vec::new();
    for pair in cuts.windows(2) {
        decoder.feed(&wire[pair[0]..pair[1]]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            seen.push(frame);
        }
    }
    assert_eq!(seen, frames);
    assert!(decoder.is_at_boundary());
}

/// Every call after an error gives an error, too.
fn never_panics<F: Frame>(pieces: &[Vec<u8>]) {
    let mut decoder = Decoder::<F>::new();
    let mut failed = false;
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(_)) => assert!(!failed),
                Ok(None) => {
                    assert!(!failed);
                    break;
                }
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn to_agent_survives_any_split(
        frames in vec(to_agent(), 0..8),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        survives(&frames, &cuts);
    }

    #[test]
    fn from_agent_survives_any_split(
        frames in vec(from_agent(), 0..8),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        survives(&frames, &cuts);
    }

    #[test]
    fn arbitrary_bytes_never_panic(pieces in vec(vec(any::<u8>(), 0..64), 0..8)) {
        never_panics::<ToAgent>(&pieces);
        never_panics::<FromAgent>(&pieces);
    }

    /// Arbitrary bytes hardly ever pass the header: give them one that does.
    #[test]
    fn arbitrary_payloads_never_panic(kind in prop::sample::select(vec![1_u8, 2, 3, 4, 5, 0x40, 0x41, 0x42, 0x43,
        0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86]), payload in vec(any::<u8>(), 0..64)) {
        let mut wire = (payload.len() as u32).to_be_bytes().to_vec();
        wire.push(kind);
        wire.extend(&payload);
        never_panics::<ToAgent>(&[wire.clone()]);
        never_panics::<FromAgent>(&[wire]);
    }
}

#[test]
fn one_byte_at_a_time() {
    let frames = [
        ToAgent::Stop { grace_ms: None },
        ToAgent::Stream(StreamFrame::Data { id: 1, bytes: b"hello".to_vec() }),
        ToAgent::Finish,
    ];
    let mut wire = Vec::new();
    for frame in &frames {
        frame.encode(&mut wire).unwrap();
    }
    let mut decoder = Decoder::<ToAgent>::new();
    let mut seen = Vec::new();
    for byte in wire {
        decoder.feed(&[byte]);
        seen.extend(decoder.next_frame().unwrap());
    }
    assert_eq!(seen, frames);
}

#[test]
fn a_command_larger_than_a_data_frame_fits() {
    let run = ToAgent::Run(Run {
        index: 1,
        argv: vec!["sh".to_owned(), "-c".to_owned(), "x".repeat(1_000_000)],
        cwd: "/".into(),
        env: vec![("A".to_owned(), "\n\"`$\\\u{1F980}".repeat(100_000))],
        env_file: true,
    });
    survives(&[run], &[]);
}

#[test]
fn a_frame_that_is_too_large_is_not_written() {
    let mut out = b"before".to_vec();
    let huge = ToAgent::Run(Run {
        index: 1,
        argv: vec!["x".repeat(MAX_CONTROL)],
        cwd: "/".into(),
        env: Vec::new(),
        env_file: false,
    });
    assert!(matches!(huge.encode(&mut out), Err(FrameError::TooLarge { .. })));
    let data = StreamFrame::Data { id: 1, bytes: vec![0; MAX_DATA - 3] };
    assert!(matches!(data.encode(&mut out), Err(FrameError::TooLarge { length, .. }) if length == MAX_DATA + 1));
    assert_eq!(out, b"before");
}

#[test]
fn a_length_above_the_limit_is_refused_before_its_payload_comes() {
    let mut decoder = Decoder::<ToAgent>::new();
    let mut header = (MAX_DATA as u32 + 1).to_be_bytes().to_vec();
    header.push(0x40);
    assert_eq!(header.len(), HEADER);
    decoder.feed(&header);
    for _ in 0..2 {
        assert!(matches!(decoder.next_frame(), Err(FrameError::TooLarge { kind: 0x40, .. })));
    }
}

#[test]
fn frames_of_the_other_direction_are_unknown() {
    let mut wire = Vec::new();
    ToAgent::Stop { grace_ms: None }.encode(&mut wire).unwrap();
    let mut decoder = Decoder::<FromAgent>::new();
    decoder.feed(&wire);
    assert!(matches!(decoder.next_frame(), Err(FrameError::UnknownType(4))));
}
