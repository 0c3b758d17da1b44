//! From bytes, split anywhere, to frames.

use std::marker::PhantomData;

use crate::{FrameError, HEADER, frames::Frame};

/// Buffers above this size are given back when they are empty.
const KEEP: usize = 256 * 1024;

/// Takes the bytes of a channel as they come and yields its frames.
///
/// ```
/// # use slipway_runner_agent::{Decoder, Frame, ToAgent};
/// let mut bytes = Vec::new();
/// ToAgent::Stop { grace_ms: None }.encode(&mut bytes)?;
/// let mut decoder = Decoder::<ToAgent>::new();
/// decoder.feed(&bytes);
/// while let Some(frame) = decoder.next_frame()? {
///     assert_eq!(frame, ToAgent::Stop { grace_ms: None });
/// }
/// # Ok::<(), slipway_runner_agent::FrameError>(())
/// ```
///
/// It holds what was fed and not yet taken: take all frames after each `feed`, and it never holds more than one
/// incomplete frame, whose length is checked before its payload is waited for. After an error every further call gives
/// the same error: the channel can't be used any more.
#[derive(Debug)]
pub struct Decoder<F> {
    buffer: Vec<u8>,
    taken: usize,
    frame: PhantomData<fn() -> F>,
}

impl<F: Frame> Decoder<F> {
    /// A decoder at the start of a channel.
    pub fn new() -> Self {
        Self { buffer: Vec::new(), taken: 0, frame: PhantomData }
    }

    /// Adds bytes as they came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame, or `None` until more bytes are fed.
    pub fn next_frame(&mut self) -> Result<Option<F>, FrameError> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((&[a, b, c, d, kind], rest)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let limit = F::limit(kind).ok_or(FrameError::UnknownType(kind))?;
        if length > limit {
            return Err(FrameError::TooLarge { kind, length, limit });
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let frame = F::parse(kind, payload)?;
        self.taken += HEADER + length;
        Ok(Some(frame))
    }

    /// Whether the bytes fed so far ended with a frame: a channel that ends elsewhere was cut.
    pub fn is_at_boundary(&self) -> bool {
        self.taken == self.buffer.len()
    }
}

impl<F: Frame> Default for Decoder<F> {
    fn default() -> Self {
        Self::new()
    }
}
