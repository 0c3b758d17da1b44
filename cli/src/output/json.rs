//! Events as JSON lines, and nothing else.

use std::io::{self, Write};

use slipway_proto::v1::{Event, event::Kind};

use super::{Renderer, job_error};

/// One event a line.
#[derive(Debug)]
pub(crate) struct Json;

impl Renderer for Json {
    fn event(&mut self, event: &Event, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
        // A kind that this client does not know has no type and no fields to show.
        let Some(kind) = &event.kind else { return Ok(()) };
        serde_json::to_writer(&mut *out, event)?;
        out.write_all(b"\n")?;
        if let Kind::JobDone(done) = kind
            && let Some(error) = &done.error
        {
            err.write_all(job_error(error).as_bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
