//! Events as JSON lines: the contract's field names and values for the parts that serde can't derive from the generated types.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Error as _, SerializeMap as _};
use serde::{Serialize as _, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::v1::{JobStatus, OutputStream};

/// RFC 3339 in UTC.
#[expect(clippy::ref_option, reason = "serde passes references")]
pub(crate) fn timestamp<S: Serializer>(
    value: &Option<prost_types::Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let Some(value) = value else { return serializer.serialize_none() };
    let nanos = i128::from(value.seconds) * 1_000_000_000 + i128::from(value.nanos);
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(S::Error::custom)?;
    time.format(&Rfc3339).map_err(S::Error::custom)?.serialize(serializer)
}

/// Output is `text` where it is UTF-8, else `data` in base64.
pub(crate) fn output<S: Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    match std::str::from_utf8(value) {
        Ok(text) => map.serialize_entry("text", text)?,
        Err(_) => map.serialize_entry("data", &STANDARD.encode(value))?,
    }
    map.end()
}

/// `stdout` or `stderr`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) fn stream<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match OutputStream::try_from(*value) {
        Ok(OutputStream::Stderr) => "stderr",
        _ => "stdout",
    })
}

/// `succeeded`, `failed` or `cancelled`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) fn status<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match JobStatus::try_from(*value) {
        Ok(JobStatus::Succeeded) => "succeeded",
        Ok(JobStatus::Cancelled) => "cancelled",
        _ => "failed",
    })
}

#[cfg(test)]
mod tests {
    use crate::v1::{CommandLog, Event, JobDone, JobError, JobStatus, OutputStream, event::Kind};

    fn line(kind: Kind) -> String {
        let time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 });
        serde_json::to_string(&Event { seq: 7, time, job: "j".to_owned(), kind: Some(kind) }).unwrap()
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let error = JobError { code: "build_failed".to_owned(), message: "no".to_owned(), hint: None };
        assert_eq!(
            line(Kind::JobDone(JobDone { status: JobStatus::Failed.into(), error: Some(error) })),
            r#"{"seq":7,"time":"2023-11-14T22:13:20.005Z","job":"j","type":"job.done","status":"failed","error":{"code":"build_failed","message":"no"}}"#
        );
        assert_eq!(
            line(Kind::JobDone(JobDone { status: JobStatus::Succeeded.into(), error: None })),
            r#"{"seq":7,"time":"2023-11-14T22:13:20.005Z","job":"j","type":"job.done","status":"succeeded"}"#
        );
    }

    #[test]
    fn output_that_is_not_utf8_is_base64() {
        let log = |text: &[u8]| {
            line(Kind::CommandLog(CommandLog {
                section: "deploy".to_owned(),
                test: None,
                index: 0,
                stream: OutputStream::Stderr.into(),
                text: text.to_vec(),
            }))
        };
        assert!(
            log(b"a\n")
                .ends_with(r#""type":"command.log","section":"deploy","index":0,"stream":"stderr","text":"a\n"}"#)
        );
        assert!(log(b"\xff").ends_with(r#""stream":"stderr","data":"/w=="}"#));
    }
}
