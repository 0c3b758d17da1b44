//! The frames as bytes: JSON for what is said, binary for what is carried.

use serde::{Serialize, de::DeserializeOwned};

use super::{Exit, Frame, FromAgent, Output, OutputStream, StreamFrame, ToAgent};
use crate::{FrameError, HEADER, MAX_CONTROL, MAX_DATA};

/// Types below 0x40 go to the agent, types from 0x80 on come from it; 0x40 to 0x43 go both ways.
mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const RUN: u8 = 0x02;
    pub(super) const STOP: u8 = 0x04;
    pub(super) const FINISH: u8 = 0x05;
    pub(super) const COLLECT: u8 = 0x06;
    pub(super) const STREAM_DATA: u8 = 0x40;
    pub(super) const STREAM_END: u8 = 0x41;
    pub(super) const STREAM_RESET: u8 = 0x42;
    pub(super) const STREAM_WINDOW: u8 = 0x43;
    pub(super) const READY: u8 = 0x80;
    pub(super) const STARTED: u8 = 0x81;
    pub(super) const OUTPUT: u8 = 0x82;
    pub(super) const EXIT: u8 = 0x83;
    pub(super) const STOPPED: u8 = 0x84;
    pub(super) const WARNING: u8 = 0x85;
    pub(super) const STREAM_OPEN: u8 = 0x86;
    pub(super) const ARTIFACTS: u8 = 0x87;
    pub(super) const COLLECTED: u8 = 0x88;
}

impl Frame for ToAgent {
    fn limit(kind: u8) -> Option<usize> {
        match kind {
            kind::HELLO | kind::RUN | kind::COLLECT => Some(MAX_CONTROL),
            kind::STOP => Some(8),
            kind::FINISH => Some(0),
            _ => StreamFrame::limit(kind),
        }
    }

    fn parse(kind: u8, payload: &[u8]) -> Result<Self, FrameError> {
        Ok(match kind {
            kind::HELLO => Self::Hello(from_json(kind, payload)?),
            kind::RUN => Self::Run(from_json(kind, payload)?),
            kind::STOP if payload.is_empty() => Self::Stop { grace_ms: None },
            kind::STOP => {
                let grace = payload.try_into().map_err(|_| FrameError::Malformed(kind))?;
                Self::Stop { grace_ms: Some(u64::from_be_bytes(grace)) }
            }
            kind::FINISH => Self::Finish,
            kind::COLLECT => Self::Collect(from_json(kind, payload)?),
            _ => Self::Stream(StreamFrame::parse(kind, payload)?),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            Self::Hello(hello) => json_frame(out, kind::HELLO, hello),
            Self::Run(run) => json_frame(out, kind::RUN, run),
            Self::Stop { grace_ms: None } => frame(out, kind::STOP, 8, &[]),
            Self::Stop { grace_ms: Some(grace) } => frame(out, kind::STOP, 8, &[&grace.to_be_bytes()]),
            Self::Finish => frame(out, kind::FINISH, 0, &[]),
            Self::Collect(collect) => json_frame(out, kind::COLLECT, collect),
            Self::Stream(stream) => stream.encode(out),
        }
    }
}

impl Frame for FromAgent {
    fn limit(kind: u8) -> Option<usize> {
        match kind {
            kind::READY | kind::EXIT | kind::WARNING | kind::COLLECTED => Some(MAX_CONTROL),
            kind::STARTED => Some(8),
            kind::STREAM_OPEN => Some(6),
            kind::STOPPED => Some(0),
            kind::OUTPUT | kind::ARTIFACTS => Some(MAX_DATA),
            _ => StreamFrame::limit(kind),
        }
    }

    fn parse(kind: u8, payload: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields { kind, rest: payload };
        Ok(match kind {
            kind::READY => Self::Ready(from_json(kind, payload)?),
            kind::STARTED => {
                let started = Self::Started { index: fields.u32()?, pid: fields.u32()? };
                fields.end()?;
                started
            }
            kind::OUTPUT => {
                let index = fields.u32()?;
                let stream = match fields.u8()? {
                    1 => OutputStream::Stdout,
                    2 => OutputStream::Stderr,
                    _ => return Err(FrameError::Malformed(kind)),
                };
                Self::Output(Output { index, stream, bytes: fields.rest.to_vec() })
            }
            kind::EXIT => {
                let length = fields.u32()? as usize;
                let mut exit: Exit = from_json(kind, fields.bytes(length)?)?;
                exit.env_file = match fields.u8()? {
                    0 => {
                        fields.end()?;
                        None
                    }
                    1 => Some(fields.rest.to_vec()),
                    _ => return Err(FrameError::Malformed(kind)),
                };
                Self::Exit(exit)
            }
            kind::STOPPED => Self::Stopped,
            kind::ARTIFACTS => Self::Artifacts(payload.to_vec()),
            kind::COLLECTED => Self::Collected(from_json(kind, payload)?),
            kind::WARNING => {
                Self::Warning(std::str::from_utf8(payload).map_err(|_| FrameError::Malformed(kind))?.to_owned())
            }
            kind::STREAM_OPEN => {
                let id = fields.u32()?;
                let port = u16::from_be_bytes([fields.u8()?, fields.u8()?]);
                fields.end()?;
                Self::StreamOpen { id, port }
            }
            _ => Self::Stream(StreamFrame::parse(kind, payload)?),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            Self::Ready(ready) => json_frame(out, kind::READY, ready),
            Self::Started { index, pid } => frame(out, kind::STARTED, 8, &[&index.to_be_bytes(), &pid.to_be_bytes()]),
            Self::Output(output) => {
                let stream = match output.stream {
                    OutputStream::Stdout => 1,
                    OutputStream::Stderr => 2,
                };
                frame(out, kind::OUTPUT, MAX_DATA, &[&output.index.to_be_bytes(), &[stream], &output.bytes])
            }
            Self::Exit(exit) => {
                let json = to_json(kind::EXIT, exit)?;
                let length = (json.len() as u32).to_be_bytes();
                let present = [u8::from(exit.env_file.is_some())];
                let file = exit.env_file.as_deref().unwrap_or_default();
                frame(out, kind::EXIT, MAX_CONTROL, &[&length, &json, &present, file])
            }
            Self::Stopped => frame(out, kind::STOPPED, 0, &[]),
            Self::Artifacts(bytes) => frame(out, kind::ARTIFACTS, MAX_DATA, &[bytes]),
            Self::Collected(collected) => json_frame(out, kind::COLLECTED, collected),
            Self::Warning(text) => frame(out, kind::WARNING, MAX_CONTROL, &[text.as_bytes()]),
            Self::StreamOpen { id, port } => {
                frame(out, kind::STREAM_OPEN, 6, &[&id.to_be_bytes(), &port.to_be_bytes()])
            }
            Self::Stream(stream) => stream.encode(out),
        }
    }
}

impl Frame for StreamFrame {
    fn limit(kind: u8) -> Option<usize> {
        match kind {
            kind::STREAM_DATA => Some(MAX_DATA),
            kind::STREAM_END | kind::STREAM_RESET => Some(4),
            kind::STREAM_WINDOW => Some(8),
            _ => None,
        }
    }

    fn parse(kind: u8, payload: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields { kind, rest: payload };
        let frame = match kind {
            kind::STREAM_DATA => return Ok(Self::Data { id: fields.u32()?, bytes: fields.rest.to_vec() }),
            kind::STREAM_END => Self::End { id: fields.u32()? },
            kind::STREAM_RESET => Self::Reset { id: fields.u32()? },
            kind::STREAM_WINDOW => Self::Window { id: fields.u32()?, credit: fields.u32()? },
            _ => return Err(FrameError::UnknownType(kind)),
        };
        fields.end()?;
        Ok(frame)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            Self::Data { id, bytes } => frame(out, kind::STREAM_DATA, MAX_DATA, &[&id.to_be_bytes(), bytes]),
            Self::End { id } => frame(out, kind::STREAM_END, 4, &[&id.to_be_bytes()]),
            Self::Reset { id } => frame(out, kind::STREAM_RESET, 4, &[&id.to_be_bytes()]),
            Self::Window { id, credit } => {
                frame(out, kind::STREAM_WINDOW, 8, &[&id.to_be_bytes(), &credit.to_be_bytes()])
            }
        }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, limit: usize, parts: &[&[u8]]) -> Result<(), FrameError> {
    let length = parts.iter().map(|part| part.len()).sum();
    if length > limit {
        return Err(FrameError::TooLarge { kind, length, limit });
    }
    out.reserve(HEADER + length);
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.push(kind);
    for part in parts {
        out.extend_from_slice(part);
    }
    Ok(())
}

fn json_frame(out: &mut Vec<u8>, kind: u8, value: &impl Serialize) -> Result<(), FrameError> {
    frame(out, kind, MAX_CONTROL, &[&to_json(kind, value)?])
}

fn to_json(kind: u8, value: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    serde_json::to_vec(value).map_err(|source| FrameError::Json { kind, source })
}

fn from_json<T: DeserializeOwned>(kind: u8, payload: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(payload).map_err(|source| FrameError::Json { kind, source })
}

/// The fields of a binary payload, taken one after another.
struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(FrameError::Malformed(self.kind))?;
        self.rest = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, FrameError> {
        Ok(self.bytes(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(FrameError::Malformed(self.kind))?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*field))
    }

    fn end(&self) -> Result<(), FrameError> {
        if self.rest.is_empty() { Ok(()) } else { Err(FrameError::Malformed(self.kind)) }
    }
}
