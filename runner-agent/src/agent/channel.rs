//! Both ends of the channel: frames from stdin to those they are for, bytes from the outbox to stdout.

use std::{os::fd::BorrowedFd, sync::mpsc::Sender};

use crate::{BLOCK, Decoder, ToAgent};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, read as read_fd, write as write_fd},
    stdio::{stdin, stdout},
};

use crate::agent::{forward::Forward, outbox::Outbox, supervisor::Event};

/// Passes on all frames until stdin ends. It never waits for anything else, so that an end is noticed at once.
pub(crate) fn read(forward: &Forward, events: &Sender<Event>) {
    let mut decoder = Decoder::<ToAgent>::new();
    let mut block = vec![0; BLOCK];
    loop {
        let count = match read_fd(stdin(), block.as_mut_slice()) {
            Ok(0) => return closed(events, "stdin has ended"),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => {
                wait(stdin(), PollFlags::IN);
                continue;
            }
            Err(error) => return closed(events, &format!("read stdin: {error}")),
        };
        decoder.feed(block.get(..count).unwrap_or_default());
        loop {
            match decoder.next_frame() {
                Ok(Some(ToAgent::Stream(frame))) => forward.receive(frame),
                Ok(Some(frame)) => {
                    if events.send(Event::Frame(frame)).is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let _ = events.send(Event::Misused(error.to_string()));
                    return;
                }
            }
        }
    }
}

/// Writes all that comes into the outbox until stdout can't be written.
pub(crate) fn write(outbox: &Outbox, events: &Sender<Event>) {
    let mut buffer = Vec::new();
    while outbox.take(&mut buffer) {
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            match write_fd(stdout(), rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait(stdout(), PollFlags::OUT),
                Err(error) => {
                    outbox.close();
                    return closed(events, &format!("write stdout: {error}"));
                }
            }
        }
    }
}

fn closed(events: &Sender<Event>, why: &str) {
    // Without a supervisor the process is at its end anyway.
    let _ = events.send(Event::Closed(why.to_owned()));
}

/// The pipes may have been made non-blocking by whoever holds their other ends.
fn wait(fd: BorrowedFd<'_>, flags: PollFlags) {
    let _ = poll(&mut [PollFd::from_borrowed_fd(fd, flags)], None);
}
