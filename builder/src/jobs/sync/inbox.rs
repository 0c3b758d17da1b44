//! Where a call's frames go: into the namespace's store, with a list of what arrived beside it.
//!
//! This is the only place that uses [`Upload`].

use std::sync::Arc;

use slipway_context::Digest;
use tokio::sync::OwnedMutexGuard;

use super::sent::Sent;
use super::unpack::Unpack;
use super::{JobsError, Message};
use crate::jobs::cleaning::Pending;
use crate::jobs::io;
use crate::store::Blobs;
use crate::store::upload::{Upload, UploadError};

/// Takes frames. What was complete stays, however the call ends.
#[derive(Debug)]
pub(super) struct Inbox {
    unpack: Unpack,
    upload: Upload,
    sent: Sent,
    pending: Arc<Pending>,
    bytes: u64,
    /// Dropped last: the next call begins when all of this one is stored.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Inbox {
    /// Into these blobs; what arrives is noted in `sent`, and how much in `pending`.
    pub(super) fn new(
        blobs: Blobs,
        sent: Sent,
        pending: Arc<Pending>,
        turn: impl Into<Option<OwnedMutexGuard<()>>>,
    ) -> Self {
        Self { unpack: Unpack::default(), upload: Upload::new(blobs), sent, pending, bytes: 0, _turn: turn.into() }
    }

    /// Takes one frame, and gives the contents' bytes that are complete since the beginning.
    pub(super) fn frame(&mut self, message: &Message) -> Result<u64, JobsError> {
        let taken = self.unpack.frame(message).and_then(|frame| self.upload.frame(frame));
        // Also what was complete before the frame turned out wrong.
        let stored = self.upload.take_stored();
        self.bytes += stored.iter().map(|(_, size, _)| size).sum::<u64>();
        // What was there already need not have been sent.
        let new: Vec<(Digest, u64)> =
            stored.into_iter().filter(|(_, _, new)| *new).map(|(digest, size, _)| (digest, size)).collect();
        self.pending.add(&new);
        self.sent.add(&new).map_err(io("note what was sent"))?;
        taken?;
        Ok(self.bytes)
    }

    /// Makes what is complete visible and durable; more may follow of what isn't.
    pub(super) fn seal_complete(&mut self) -> Result<(), JobsError> {
        Ok(self.upload.seal_complete()?)
    }

    /// Makes all that has arrived visible and durable; an error in the middle of a record.
    pub(super) fn seal(&mut self) -> Result<(), JobsError> {
        self.upload.seal()?;
        if self.upload.between_records() { Ok(()) } else { Err(UploadError::Truncated.into()) }
    }
}
