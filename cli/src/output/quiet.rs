//! Only what a script would ask for: the images, each with its digest, and errors.

use std::io::{self, Write};

use slipway_proto::v1::{Event, event::Kind};

use super::{Renderer, job_error};

/// A line for each image.
#[derive(Debug)]
pub(crate) struct Quiet;

impl Renderer for Quiet {
    fn event(&mut self, event: &Event, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
        match &event.kind {
            Some(Kind::BuildDone(build)) => writeln!(out, "{}", build.image),
            Some(Kind::BuildSkipped(build)) => writeln!(out, "{}", build.image),
            Some(Kind::JobDone(done)) => match &done.error {
                Some(error) => err.write_all(job_error(error).as_bytes()),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
