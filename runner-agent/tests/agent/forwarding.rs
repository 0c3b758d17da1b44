//! Forwarded ports: this process is the job's side, and the clients that connect inside.

use std::{
    collections::{HashMap, VecDeque},
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;
use slipway_runner_agent::{BLOCK, FromAgent, Hello, MAX_STREAMS, StreamFrame, ToAgent, WINDOW};

use crate::driver::{Agent, hello, shell};

/// A port that is free right now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn forwarding() -> (Agent, u16) {
    let port = free_port();
    let agent = Agent::start_with(&Hello { listen: vec![port], ..hello() });
    assert_eq!(agent.ready.listening, [port]);
    (agent, port)
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

fn opened(agent: &Agent, expected: u16) -> u32 {
    let FromAgent::StreamOpen { id, port } = agent.next() else { panic!("no stream") };
    assert_eq!(port, expected);
    id
}

/// One stream of a server that sends back what it gets, as much as it may.
struct Echo {
    credit: usize,
    waiting: VecDeque<Vec<u8>>,
    ended: bool,
}

/// Sends back everything on all streams until `ends` of them have ended in both directions.
fn echo(agent: &mut Agent, ends: usize) {
    let mut streams = HashMap::new();
    let mut ended = 0;
    while ended < ends {
        let id = match agent.next() {
            FromAgent::StreamOpen { id, .. } => {
                streams.insert(id, Echo { credit: WINDOW as usize, waiting: VecDeque::new(), ended: false });
                id
            }
            FromAgent::Stream(frame) => {
                let id = frame.id();
                // Credit may come when all is over.
                let Some(stream) = streams.get_mut(&id) else { continue };
                match frame {
                    StreamFrame::Data { bytes, .. } => stream.waiting.push_back(bytes),
                    StreamFrame::End { .. } => stream.ended = true,
                    StreamFrame::Window { credit, .. } => stream.credit += credit as usize,
                    StreamFrame::Reset { .. } => panic!("reset"),
                }
                id
            }
            other => panic!("{other:?}"),
        };
        let stream = streams.get_mut(&id).unwrap();
        while stream.waiting.front().is_some_and(|bytes| bytes.len() <= stream.credit) {
            let bytes = stream.waiting.pop_front().unwrap();
            stream.credit -= bytes.len();
            agent.send(&ToAgent::Stream(StreamFrame::Window { id, credit: bytes.len() as u32 }));
            agent.send(&ToAgent::Stream(StreamFrame::Data { id, bytes }));
        }
        if stream.ended && stream.waiting.is_empty() {
            agent.send(&ToAgent::Stream(StreamFrame::End { id }));
            streams.remove(&id);
            ended += 1;
        }
    }
}

/// Sends bytes, closes its direction, and expects them back.
fn round_trip(mut socket: TcpStream, seed: usize, size: usize) {
    let sent: Vec<u8> = (0..size).map(|n| (n * 31 + n / 977 + seed) as u8).collect();
    let mut back = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            (&socket).write_all(&sent).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
        });
        (&socket).read_to_end(&mut back).unwrap();
    });
    assert!(back == sent, "{} of {}", back.len(), sent.len());
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_megabyte_there_and_back_with_half_close() {
    let (mut agent, port) = forwarding();
    let client = thread::spawn(move || round_trip(connect(port), 1, 1_000_003));
    echo(&mut agent, 1);
    client.join().unwrap();
    agent.finish();
}

#[test]
fn over_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let (mut agent, port) = forwarding();
    let client = thread::spawn(move || round_trip(TcpStream::connect(("::1", port)).unwrap(), 1, 1000));
    echo(&mut agent, 1);
    client.join().unwrap();
    agent.finish();
}

#[test]
fn many_streams_and_one_that_hangs() {
    let (mut agent, port) = forwarding();
    // Writes until nothing more goes, and never reads.
    let hanging = connect(port);
    hanging.set_nonblocking(true).unwrap();
    let clients: Vec<_> = (0..20).map(|n| thread::spawn(move || round_trip(connect(port), n, 300_000 + n))).collect();
    let stuffer = thread::spawn(move || {
        for _ in 0..200 {
            let _ = (&hanging).write(&vec![1; 65536]);
            thread::sleep(Duration::from_millis(1));
        }
        hanging
    });
    echo(&mut agent, 20);
    for client in clients {
        client.join().unwrap();
    }
    drop(stuffer.join().unwrap());
    agent.finish();
}

#[test]
fn a_command_talks_through_it() {
    let (mut agent, port) = forwarding();
    let mut run = shell(1, "");
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3; head -n 1 <&3");
    run.argv = vec!["bash".to_owned(), "-c".to_owned(), script];
    agent.send(&ToAgent::Run(run));
    // Streams are not ordered against commands: it may connect before its start is told.
    let mut frames = [agent.next(), agent.next(), agent.next()].to_vec();
    frames.retain(|frame| !matches!(frame, FromAgent::Started { index: 1, .. }));
    let FromAgent::StreamOpen { id, .. } = frames[0] else { panic!("{frames:?}") };
    let hello = FromAgent::Stream(StreamFrame::Data { id, bytes: b"hello\n".to_vec() });
    assert_eq!(frames, [FromAgent::StreamOpen { id, port }, hello]);
    agent.send(&ToAgent::Stream(StreamFrame::Data { id, bytes: b"world\n".to_vec() }));
    // Nor against its output: the end of its connection may be told first.
    let output = loop {
        match agent.next() {
            FromAgent::Output(output) => break output,
            FromAgent::Stream(StreamFrame::End { id: ended }) => assert_eq!(ended, id),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(output.bytes, b"world\n");
    agent.finish();
}

#[test]
fn no_more_than_a_window_is_sent() {
    let (mut agent, port) = forwarding();
    let mut client = connect(port);
    let id = opened(&agent, port);
    let writer = thread::spawn(move || {
        client.write_all(&vec![9; 600_000]).unwrap();
        client
    });
    let mut seen = 0;
    let mut take = |agent: &Agent, until: usize| {
        while seen < until {
            let FromAgent::Stream(StreamFrame::Data { bytes, .. }) = agent.next() else { panic!() };
            assert!(bytes.len() <= BLOCK);
            seen += bytes.len();
        }
        assert_eq!(seen, until);
    };
    take(&agent, WINDOW as usize);
    // Other frames pass meanwhile.
    assert_eq!(agent.run(shell(1, "exit 4")).exit.exit_code, Some(4));
    agent.send(&ToAgent::Stream(StreamFrame::Window { id, credit: 1000 }));
    take(&agent, WINDOW as usize + 1000);
    agent.send(&ToAgent::Stream(StreamFrame::Window { id, credit: u32::MAX }));
    take(&agent, 600_000);
    drop(writer.join().unwrap());
    assert_eq!(agent.next(), FromAgent::Stream(StreamFrame::End { id }));
    agent.finish();
}

#[test]
fn who_sends_more_than_a_window_is_reset() {
    let (mut agent, port) = forwarding();
    let client = connect(port);
    let id = opened(&agent, port);
    // The client reads nothing; credits are what its socket takes, some megabytes at most.
    for _ in 0..1000 {
        agent.send(&ToAgent::Stream(StreamFrame::Data { id, bytes: vec![1; BLOCK] }));
    }
    loop {
        match agent.next() {
            FromAgent::Stream(StreamFrame::Window { .. }) => {}
            FromAgent::Stream(StreamFrame::Reset { id: reset }) => break assert_eq!(reset, id),
            other => panic!("{other:?}"),
        }
    }
    drop(client);
    assert_eq!(agent.run(shell(1, "exit 4")).exit.exit_code, Some(4));
    agent.finish();
}

#[test]
fn a_refused_connection_is_a_reset_inside() {
    let (mut agent, port) = forwarding();
    let mut client = connect(port);
    let id = opened(&agent, port);
    agent.send(&ToAgent::Stream(StreamFrame::Data { id, bytes: b"half".to_vec() }));
    let mut half = [0; 4];
    client.read_exact(&mut half).unwrap();
    agent.send(&ToAgent::Stream(StreamFrame::Reset { id }));
    assert_eq!(client.read(&mut half).unwrap_err().kind(), ErrorKind::ConnectionReset);
    // Frames that were under way are nobody's.
    for frame in [
        StreamFrame::Data { id, bytes: vec![1] },
        StreamFrame::Window { id, credit: 1 },
        StreamFrame::End { id },
        StreamFrame::Reset { id },
    ] {
        agent.send(&ToAgent::Stream(frame));
    }
    assert_eq!(agent.run(shell(1, "exit 4")).exit.exit_code, Some(4));
    agent.finish();
}

#[test]
fn a_client_that_breaks_off_is_a_reset_outside() {
    let (agent, port) = forwarding();
    let client = connect(port);
    let id = opened(&agent, port);
    set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(agent.next(), FromAgent::Stream(StreamFrame::Reset { id }));
    agent.finish();
}

#[test]
fn the_server_may_end_first() {
    let (mut agent, port) = forwarding();
    let mut client = connect(port);
    let id = opened(&agent, port);
    agent.send(&ToAgent::Stream(StreamFrame::Data { id, bytes: b"bye".to_vec() }));
    agent.send(&ToAgent::Stream(StreamFrame::End { id }));
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bye");
    client.write_all(b"still here").unwrap();
    assert_eq!(agent.next(), FromAgent::Stream(StreamFrame::Data { id, bytes: b"still here".to_vec() }));
    drop(client);
    assert_eq!(agent.next(), FromAgent::Stream(StreamFrame::End { id }));
    agent.finish();
}

#[test]
fn who_reads_no_more_may_have_answered() {
    let (mut agent, port) = forwarding();
    let mut client = connect(port);
    let id = opened(&agent, port);
    // More than the window and what sockets take.
    let mut write = client.try_clone().unwrap();
    let writer = thread::spawn(move || write.write_all(&vec![9; 16 << 20]));
    let mut seen = 0;
    while seen < WINDOW as usize {
        let FromAgent::Stream(StreamFrame::Data { bytes, .. }) = agent.next() else { panic!() };
        seen += bytes.len();
    }
    let answer = WINDOW as usize / BLOCK * BLOCK;
    for _ in 0..answer / BLOCK {
        agent.send(&ToAgent::Stream(StreamFrame::Data { id, bytes: vec![1; BLOCK] }));
    }
    agent.send(&ToAgent::Stream(StreamFrame::End { id }));
    agent.send(&ToAgent::Stream(StreamFrame::Reset { id }));
    let mut text = Vec::new();
    client.read_to_end(&mut text).unwrap();
    assert_eq!(text.len(), answer);
    writer.join().unwrap().unwrap();
    drop(client);
    // It is in nobody's way: as many streams as there may be have room.
    let clients: Vec<_> = (0..MAX_STREAMS).map(|_| connect(port)).collect();
    let mut opened = 0;
    while opened < MAX_STREAMS {
        match agent.next() {
            FromAgent::StreamOpen { .. } => opened += 1,
            FromAgent::Stream(StreamFrame::Window { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    drop(clients);
    agent.finish();
}

#[test]
fn who_writes_on_to_nobody_learns_of_that() {
    let (mut agent, port) = forwarding();
    let mut client = connect(port);
    let id = opened(&agent, port);
    agent.send(&ToAgent::Stream(StreamFrame::Data { id, bytes: b"no".to_vec() }));
    agent.send(&ToAgent::Stream(StreamFrame::End { id }));
    agent.send(&ToAgent::Stream(StreamFrame::Reset { id }));
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "no");
    let error = loop {
        match client.write_all(&[1; 1000]) {
            Ok(()) => thread::sleep(Duration::from_millis(10)),
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    agent.finish();
}

#[test]
fn more_connections_than_streams_wait() {
    let (mut agent, port) = forwarding();
    let clients: Vec<_> = (0..MAX_STREAMS + 3).map(|_| connect(port)).collect();
    let ids: Vec<u32> = (0..MAX_STREAMS).map(|_| opened(&agent, port)).collect();
    // The next frame is the command's, not another stream.
    assert_eq!(agent.run(shell(1, "exit 4")).exit.exit_code, Some(4));
    agent.send(&ToAgent::Stream(StreamFrame::Reset { id: ids[7] }));
    let next = opened(&agent, port);
    assert!(!ids.contains(&next));
    drop(clients);
    agent.finish();
}

#[test]
fn a_port_that_is_taken_is_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken_port, port) = (taken.local_addr().unwrap().port(), free_port());
    let agent = Agent::start_with(&Hello { listen: vec![taken_port, port], ..hello() });
    assert_eq!(agent.ready.listening, [port]);
    assert_eq!(agent.ready.not_listening.len(), 1);
    assert_eq!(agent.ready.not_listening[0].port, taken_port);
    assert!(agent.ready.not_listening[0].error.contains("in use"));
    agent.finish();
}

#[test]
fn it_listens_nowhere_if_told_so() {
    let port = free_port();
    let agent = Agent::start_with(&Hello { listen: vec![port], no_listen: true, ..hello() });
    assert!(agent.ready.listening.is_empty() && agent.ready.not_listening.is_empty());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    agent.finish();
}
