//! A job's events, in order and without gaps, over as many connections as it takes.

use std::time::{Duration, Instant};

use slipway_proto::v1::{Event, WatchRequest, WatchResponse, event::Kind};
use tonic::{Code, Status, Streaming};

use crate::client::{Backoff, Client, ServiceError};
use crate::output;

/// How long a watch goes on trying while the service does not answer.
const PATIENCE: Duration = Duration::from_mins(10);
/// A connection that lasted this long was a good one: what ends it begins a new outage.
const GOOD: Duration = Duration::from_secs(5);
/// The person in front of it is told after this many seconds, not about every hiccup.
const QUIET: Duration = Duration::from_secs(2);

/// The events of one job. After a cut it goes on behind the last event that it gave.
#[derive(Debug)]
pub(crate) struct Watch {
    client: Client,
    job: String,
    last: u64,
    follow: bool,
    stream: Option<Streaming<WatchResponse>>,
    opened: Option<Instant>,
    done: bool,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    backoff: Backoff,
    told: bool,
}

impl Watch {
    /// Watches a job's events after `after`. With `follow` until job.done, else those that are there now.
    pub(crate) fn new(client: &Client, job: &str, after: u64, follow: bool) -> Self {
        let (client, job) = (client.clone(), job.to_owned());
        Self { client, job, last: after, follow, stream: None, opened: None, done: false, outage: None }
    }

    /// The next events, one or more; `None` after the last. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Event>>, ServiceError> {
        loop {
            if self.done {
                return Ok(None);
            }
            let status = match self.message().await {
                Ok(Some(response)) => {
                    if let Some(events) = self.take(response) {
                        return Ok(Some(events));
                    }
                    continue;
                }
                Ok(None) if !self.follow => return Ok(None),
                Ok(None) => Status::unavailable("the service ended the stream before the job"),
                Err(status) => status,
            };
            self.stream = None;
            self.wait(status).await?;
        }
    }

    async fn message(&mut self) -> Result<Option<WatchResponse>, Status> {
        if self.stream.is_none() {
            let request = WatchRequest { job: self.job.clone(), after_seq: self.last, no_follow: !self.follow };
            self.stream = Some(self.client.jobs().watch(request).await?.into_inner());
            self.opened = Some(Instant::now());
        }
        match &mut self.stream {
            Some(stream) => stream.message().await,
            None => Ok(None),
        }
    }

    /// The events that are new; none of a message that has nothing new.
    fn take(&mut self, response: WatchResponse) -> Option<Vec<Event>> {
        let mut events = response.events;
        events.retain(|event| event.seq > self.last);
        // Events are numbered without gaps: what is missing comes with another stream, unless the service really lacks it.
        let first = events.first()?.seq;
        if first != self.last + 1 && self.outage.is_none() {
            tracing::warn!(expected = self.last + 1, got = first, "events are missing; asking again");
            self.stream = None;
            self.outage = Some(Outage::new());
            return None;
        }
        self.last = events.last()?.seq;
        self.done = events.iter().any(|event| matches!(event.kind, Some(Kind::JobDone(_))));
        if let Some(outage) = self.outage.take()
            && outage.told
        {
            output::note("the service answers again");
        }
        Some(events)
    }

    /// Waits before another try, or gives up.
    async fn wait(&mut self, status: Status) -> Result<(), ServiceError> {
        let fatal = matches!(
            status.code(),
            Code::Unauthenticated
                | Code::PermissionDenied
                | Code::NotFound
                | Code::InvalidArgument
                | Code::Unimplemented
        );
        if self.opened.take().is_some_and(|opened| opened.elapsed() >= GOOD) {
            self.outage = None;
        }
        let outage = self.outage.get_or_insert_with(Outage::new);
        if fatal || outage.since.elapsed() > PATIENCE {
            return Err(self.client.error(&status));
        }
        tracing::info!(%status, after = self.last, "the watch was cut");
        if !outage.told && outage.since.elapsed() >= QUIET {
            outage.told = true;
            output::note(format_args!("lost the connection to {}; trying again", self.client.url()));
        }
        let wait = outage.backoff.next();
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

impl Outage {
    fn new() -> Self {
        Self { since: Instant::now(), backoff: Backoff::new(), told: false }
    }
}
