//! What a process says of itself: lines on standard error, which of a job's process are kept in its folder.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use tracing_subscriber::fmt::MakeWriter;

use crate::pipeline::events::Events;

/// Where lines go. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ProcessLog(Arc<OnceLock<Events>>);

/// Writes one line.
#[derive(Debug)]
pub struct Line(ProcessLog);

impl ProcessLog {
    /// From now on nothing is in it that is not to be seen in the job's events: an engine's message may quote what a step
    /// printed.
    pub fn mask_as(&self, events: &Events) {
        // A process has one job.
        let _ = self.0.set(events.clone());
    }

    fn told<'l>(&self, line: &'l [u8]) -> Cow<'l, [u8]> {
        let Some(masks) = self.0.get().map(Events::masks).filter(|masks| !masks.is_empty()) else { return line.into() };
        Cow::Owned(masks.text(&String::from_utf8_lossy(line)).into_owned().into_bytes())
    }
}

impl MakeWriter<'_> for ProcessLog {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line(self.clone())
    }
}

impl Write for Line {
    /// A line comes whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&self.0.told(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use slipway_mask::Masks;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::names::JobId;

    #[test]
    fn what_a_job_hides_is_not_in_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let (log, line) = (ProcessLog::default(), b"error=exit code: 1: say open sesame\n");
        assert_eq!(log.told(line), line.as_slice());
        let events = Events::open(dir.path(), JobId::new(), CancellationToken::new()).unwrap();
        let events = events.masking(Masks::of(["open sesame"]));
        log.mask_as(&events);
        assert_eq!(log.told(line), b"error=exit code: 1: say ***\n".as_slice());
        // What commands leave later, too.
        events.hide(&["exit code"]);
        assert_eq!(log.clone().told(line), b"error=***: 1: say ***\n".as_slice());
    }
}
