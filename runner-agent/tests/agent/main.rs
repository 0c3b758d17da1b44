//! The real binary, driven over its stdin and stdout as the job's process does.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod collecting;
mod commands;
mod driver;
mod ending;
mod forwarding;
mod limits;
mod login;
