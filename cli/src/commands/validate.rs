//! `slipway validate`

use anyhow::Result;

use crate::error::ExitStatus;
use crate::output;
use crate::project;
use crate::settings::Settings;

/// Parses the manifest. Problems are the error, one a line; nothing is expanded and no service asked.
pub(crate) fn run(settings: &Settings) -> Result<ExitStatus> {
    let (manifest, _) = project::read(settings)?;
    output::note(format_args!("{} is fine", manifest.file));
    Ok(ExitStatus::Done)
}
