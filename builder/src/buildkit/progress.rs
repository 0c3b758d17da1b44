//! BuildKit's status stream, step by step.

use std::collections::HashMap;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexStatus};
use tokio::time::Instant;

/// How often it is told how much of a step's contents has come.
const TELL: Duration = Duration::from_secs(1);
/// Contents of one step that are counted: more layers than an image may have.
const MAX_MOVING: usize = 1000;

/// Something that a step did. Steps are numbered from 1 in the order in which they appear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepEvent {
    /// It began.
    Started {
        /// Its number.
        step: u32,
        /// What it is, as BuildKit names it.
        name: String,
    },
    /// It moves contents; told at most once in a second.
    Moving {
        /// Its number.
        step: u32,
        /// So far.
        bytes: u64,
        /// In all, as far as that is known; 0: it is not.
        total: u64,
    },
    /// It wrote something.
    Log {
        /// Its number.
        step: u32,
        /// Whether to its standard error.
        stderr: bool,
        /// What.
        bytes: Vec<u8>,
    },
    /// It ended.
    Done {
        /// Its number.
        step: u32,
        /// What it is.
        name: String,
        /// Whether the result was there already.
        cached: bool,
        /// Milliseconds since it began.
        duration_ms: u64,
        /// Why it failed.
        error: Option<String>,
    },
    /// Something to tell the user, such as the Dockerfile linter's findings.
    Warning {
        /// What.
        message: String,
        /// `file:line`, when it is known.
        place: Option<String>,
    },
}

#[derive(Debug, Default)]
struct Step {
    number: u32,
    /// Seconds and nanoseconds since 1970.
    started: Option<(i64, i32)>,
    done: bool,
    /// What it moves, by BuildKit's names: how much has come, and how much it is.
    moving: HashMap<String, (u64, u64)>,
    /// When that was told last, and what.
    told: Option<(Instant, (u64, u64))>,
}

/// Turns status messages into step events. BuildKit repeats vertices, with later fields winning; here a step begins and ends
/// once, unless BuildKit takes it up again (it looks for the result of a context's transfer first, and transfers it later).
#[derive(Debug, Default)]
pub struct Progress {
    steps: HashMap<String, Step>,
}

impl Progress {
    /// What this message tells that is new.
    pub fn update(&mut self, status: StatusResponse) -> Vec<StepEvent> {
        let mut events = Vec::new();
        for vertex in &status.vertexes {
            self.vertex_started(vertex, &mut events);
        }
        for status in &status.statuses {
            self.moving(status, &mut events);
        }
        for log in status.logs {
            let step = self.step(&log.vertex).number;
            events.push(StepEvent::Log { step, stderr: log.stream == 2, bytes: log.msg });
        }
        for vertex in status.vertexes {
            self.vertex_done(vertex, &mut events);
        }
        for warning in status.warnings {
            let file = warning.info.map(|info| info.filename).unwrap_or_default();
            let line = warning.ranges.first().and_then(|range| range.start.as_ref()).map_or(0, |start| start.line);
            let place = (!file.is_empty()).then(|| if line > 0 { format!("{file}:{line}") } else { file });
            let message = String::from_utf8_lossy(&warning.short).into_owned();
            events.push(StepEvent::Warning { message, place });
        }
        events
    }

    fn step(&mut self, digest: &str) -> &mut Step {
        let number = self.steps.len() as u32 + 1;
        self.steps.entry(digest.to_owned()).or_insert_with(|| Step { number, ..Step::default() })
    }

    fn vertex_started(&mut self, vertex: &Vertex, events: &mut Vec<StepEvent>) {
        if vertex.started.is_none() && vertex.completed.is_none() {
            return;
        }
        let time = vertex.started.as_ref().or(vertex.completed.as_ref()).map(|time| (time.seconds, time.nanos));
        let step = self.step(&vertex.digest);
        let again = step.done && vertex.completed.is_none() && time > step.started;
        if step.started.is_none() || again {
            step.started = time;
            step.done = false;
            events.push(StepEvent::Started { step: step.number, name: vertex.name.clone() });
        }
    }

    fn moving(&mut self, status: &VertexStatus, events: &mut Vec<StepEvent>) {
        let amount = |number| u64::try_from(number).unwrap_or_default();
        let (bytes, total) = (amount(status.current), amount(status.total));
        let step = self.step(&status.vertex);
        if step.done || bytes == 0 || step.moving.len() >= MAX_MOVING && !step.moving.contains_key(&status.id) {
            return;
        }
        step.moving.insert(status.id.clone(), (bytes, total));
        let now = Instant::now();
        if step.told.is_some_and(|(told, _)| now.duration_since(told) < TELL) {
            return;
        }
        let sum = |of: fn(&(u64, u64)) -> u64| step.moving.values().map(of).fold(0, u64::saturating_add);
        // Where one is of no known size, the sum is not known.
        let total = if step.moving.values().all(|(_, total)| *total > 0) { sum(|(_, total)| *total) } else { 0 };
        let moved = (sum(|(bytes, _)| *bytes), total);
        // BuildKit repeats what has not changed.
        if step.told.is_none_or(|(_, told)| told != moved) {
            step.told = Some((now, moved));
            events.push(StepEvent::Moving { step: step.number, bytes: moved.0, total });
        }
    }

    fn vertex_done(&mut self, vertex: Vertex, events: &mut Vec<StepEvent>) {
        let Some(completed) = vertex.completed else { return };
        let step = self.step(&vertex.digest);
        if step.done {
            return;
        }
        step.done = true;
        step.moving.clear();
        let millis = |time: &bollard_buildkit_proto::google::protobuf::Timestamp| {
            time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos) / 1_000_000)
        };
        let began = vertex.started.as_ref().map_or_else(|| millis(&completed), millis);
        events.push(StepEvent::Done {
            step: step.number,
            name: vertex.name,
            cached: vertex.cached,
            duration_ms: u64::try_from(millis(&completed) - began).unwrap_or(0),
            error: (!vertex.error.is_empty()).then_some(vertex.error),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_buildkit_proto::google::protobuf::Timestamp;
    use bollard_buildkit_proto::moby::buildkit::v1::VertexLog;

    fn vertex(digest: &str, started: Option<i64>, completed: Option<i64>) -> Vertex {
        let time = |seconds| Timestamp { seconds, nanos: 0 };
        Vertex {
            digest: digest.to_owned(),
            name: format!("step {digest}"),
            started: started.map(time),
            completed: completed.map(time),
            ..Vertex::default()
        }
    }

    fn status(vertexes: Vec<Vertex>, logs: Vec<(&str, i64, &str)>) -> StatusResponse {
        let logs = logs.into_iter().map(|(vertex, stream, text)| VertexLog {
            vertex: vertex.to_owned(),
            stream,
            msg: text.as_bytes().to_vec(),
            ..VertexLog::default()
        });
        StatusResponse { vertexes, logs: logs.collect(), ..StatusResponse::default() }
    }

    #[test]
    fn every_step_begins_and_ends_once() {
        let mut progress = Progress::default();
        assert_eq!(progress.update(status(vec![vertex("a", None, None)], vec![])), []);
        let events = progress.update(status(vec![vertex("a", Some(1), None), vertex("a", Some(1), None)], vec![]));
        assert_eq!(events, [StepEvent::Started { step: 1, name: "step a".to_owned() }]);
        let done = || vec![vertex("a", Some(1), Some(3))];
        let events = progress.update(status(done(), vec![("a", 2, "text\n")]));
        assert_eq!(events[0], StepEvent::Log { step: 1, stderr: true, bytes: b"text\n".to_vec() });
        assert!(matches!(&events[1], StepEvent::Done { step: 1, duration_ms: 2000, error: None, .. }));
        assert_eq!(progress.update(status(done(), vec![])), []);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_step_moves_is_summed_up_and_told_once_in_a_second() {
        let mut progress = Progress::default();
        progress.update(status(vec![vertex("a", Some(1), None)], vec![]));
        let mut moved = |all: &[(&str, i64, i64)]| {
            let statuses = all.iter().map(|(id, current, total)| VertexStatus {
                id: (*id).to_owned(),
                vertex: "a".to_owned(),
                current: *current,
                total: *total,
                ..VertexStatus::default()
            });
            progress.update(StatusResponse { statuses: statuses.collect(), ..StatusResponse::default() })
        };
        let told = |bytes, total| [StepEvent::Moving { step: 1, bytes, total }];
        assert_eq!(moved(&[("x", 10, 100)]), told(10, 100));
        assert_eq!(moved(&[("x", 20, 100), ("y", 5, 50)]), []);
        tokio::time::advance(TELL).await;
        assert_eq!(moved(&[("x", 30, 100)]), told(35, 150));
        tokio::time::advance(TELL).await;
        assert_eq!(moved(&[("x", 30, 100)]), [], "nothing has come since");
        assert_eq!(moved(&[("context", 7, 0), ("nothing", 0, 0)]), told(42, 0)[..].to_vec());
        tokio::time::advance(TELL).await;
        progress.update(status(vec![vertex("a", Some(1), Some(2))], vec![]));
        let late = VertexStatus { vertex: "a".to_owned(), id: "x".to_owned(), current: 99, ..VertexStatus::default() };
        assert_eq!(progress.update(StatusResponse { statuses: vec![late], ..StatusResponse::default() }), []);
    }

    #[test]
    fn warnings_have_their_line() {
        use bollard_buildkit_proto::moby::buildkit::v1::VertexWarning;
        use bollard_buildkit_proto::pb::{Position, Range, SourceInfo};
        let warning = VertexWarning {
            short: b"StageNameCasing: lower case".to_vec(),
            info: Some(SourceInfo { filename: "Dockerfile".to_owned(), ..SourceInfo::default() }),
            ranges: vec![Range { start: Some(Position { line: 3, character: 0 }), end: None }],
            ..VertexWarning::default()
        };
        let events =
            Progress::default().update(StatusResponse { warnings: vec![warning], ..StatusResponse::default() });
        let (message, place) = ("StageNameCasing: lower case".to_owned(), Some("Dockerfile:3".to_owned()));
        assert_eq!(events, [StepEvent::Warning { message, place }]);
    }

    #[test]
    fn a_step_that_is_taken_up_again_is_told_again() {
        let mut progress = Progress::default();
        progress.update(status(vec![vertex("a", Some(1), None)], vec![]));
        progress.update(status(vec![vertex("a", Some(1), Some(1))], vec![]));
        let again = progress.update(status(vec![vertex("a", Some(2), None)], vec![]));
        assert!(matches!(&again[..], [StepEvent::Started { step: 1, .. }]), "{again:?}");
        let done = progress.update(status(vec![vertex("a", Some(2), Some(5))], vec![]));
        assert!(matches!(&done[..], [StepEvent::Done { step: 1, duration_ms: 3000, .. }]), "{done:?}");
    }

    #[test]
    fn a_cached_step_begins_before_it_ends() {
        let mut cached = vertex("a", None, Some(1));
        cached.cached = true;
        let events = Progress::default().update(status(vec![cached], vec![]));
        assert!(matches!(&events[0], StepEvent::Started { step: 1, .. }));
        assert!(matches!(&events[1], StepEvent::Done { step: 1, cached: true, .. }));
    }
}
