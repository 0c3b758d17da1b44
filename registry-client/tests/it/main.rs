//! The client against a real Distribution registry, and against servers that misbehave.

#![expect(clippy::expect_used, reason = "a test may fail")]

mod archive;
mod hostile;
mod import;
mod registry;
mod retries;
mod tags;
mod trust;
