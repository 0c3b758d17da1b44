//! A job's events: an append-only log in segment files.
//!
//! `events/<first seq, 20 digits>.log` holds records of `u32` length and `u32` CRC-32 (little-endian) and an encoded
//! [`Event`]. A full segment is compressed to `….log.zst`. The file names are the index: the segment that holds a sequence
//! number is the last whose name is not greater.
//!
//! One process writes at a time: the service until it starts the job's process and after that has ended, the process in
//! between (see [`super::process`]). A torn record at the end, left by a crash, is cut off by the next writer; readers stop
//! before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prost::Message as _;
use slipway_proto::v1::Event;
use slipway_proto::v1::event::Kind;

/// Bytes after which a segment is full.
const SEGMENT: u64 = 4 << 20;
/// The largest record that a reader believes.
const MAX_RECORD: usize = 4 << 20;
const HEADER: usize = 8;

/// Appends events.
#[derive(Debug)]
pub struct EventLogWriter {
    dir: PathBuf,
    job: String,
    file: File,
    bytes: u64,
    first: u64,
    next_seq: u64,
}

impl EventLogWriter {
    /// Opens the log of a job, made as needed, after its last whole record.
    pub fn open(dir: &Path, job: &str) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let Some(last) = segments(dir)?.pop() else {
            let file = create(dir, 1)?;
            return Ok(Self { dir: dir.to_owned(), job: job.to_owned(), file, bytes: 0, first: 1, next_seq: 1 });
        };
        let mut next_seq = last.first;
        let mut whole = 0;
        for event in Segment::open(&last)? {
            // What a crash left damaged is cut off; nothing after it was ever acknowledged.
            let Ok((event, bytes)) = event else { break };
            next_seq = event.seq + 1;
            whole += bytes;
        }
        let (file, bytes, first) = if last.compressed {
            (create(dir, next_seq)?, 0, next_seq)
        } else {
            let mut file = OpenOptions::new().write(true).open(&last.path)?;
            file.set_len(whole)?;
            file.seek(SeekFrom::End(0))?;
            (file, whole, last.first)
        };
        Ok(Self { dir: dir.to_owned(), job: job.to_owned(), file, bytes, first, next_seq })
    }

    /// Appends one event, and gives it back with its number and time. What must not be lost with the machine (the start of
    /// a command, the end of the job) is on the disk when this returns.
    pub fn append(&mut self, kind: Kind) -> io::Result<Event> {
        if self.bytes >= SEGMENT {
            self.roll()?;
        }
        let durable = matches!(kind, Kind::CommandStarted(_) | Kind::JobDone(_));
        let event =
            Event { seq: self.next_seq, time: Some(SystemTime::now().into()), job: self.job.clone(), kind: Some(kind) };
        let payload = event.encode_to_vec();
        if payload.len() > MAX_RECORD {
            // No reader would go beyond it.
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("an event of {} bytes", payload.len())));
        }
        let mut record = Vec::with_capacity(HEADER + payload.len());
        record.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        record.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
        record.extend_from_slice(&payload);
        let written = self.file.write_all(&record).and_then(|()| if durable { self.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // Half a record would hide whatever is written after it.
            self.file.set_len(self.bytes)?;
            self.file.seek(SeekFrom::Start(self.bytes))?;
            return Err(error);
        }
        self.bytes += record.len() as u64;
        self.next_seq += 1;
        Ok(event)
    }

    /// The next event begins a segment.
    #[cfg(test)]
    pub(crate) fn fill_segment(&mut self) {
        self.bytes = SEGMENT;
    }

    fn roll(&mut self) -> io::Result<()> {
        self.file = create(&self.dir, self.next_seq)?;
        let full = self.dir.join(name(self.first));
        let compressed = self.dir.join(format!("{}.zst", name(self.first)));
        let part = compressed.with_extension("part");
        let target = File::create(&part)?;
        zstd::stream::copy_encode(File::open(&full)?, &target, 3)?;
        target.sync_all()?;
        fs::rename(&part, &compressed)?;
        fs::remove_file(&full)?;
        self.first = self.next_seq;
        self.bytes = 0;
        Ok(())
    }
}

/// Reads events in order, also while they are written.
#[derive(Debug)]
pub struct EventLogReader {
    dir: PathBuf,
    after: u64,
    current: Option<(u64, Segment)>,
}

impl EventLogReader {
    /// From the event after this number.
    pub fn new(dir: &Path, after_seq: u64) -> Self {
        Self { dir: dir.to_owned(), after: after_seq, current: None }
    }

    /// The next events, at most about `max_bytes` of them; none when there are no more yet.
    pub fn read(&mut self, max_bytes: usize) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        let mut bytes = 0;
        loop {
            if let Some((_, segment)) = &mut self.current {
                while bytes < max_bytes {
                    let Some(next) = segment.next_whole()? else { break };
                    let (event, size) = next;
                    if event.seq > self.after {
                        self.after = event.seq;
                        bytes += size as usize;
                        events.push(event);
                    }
                }
            }
            if bytes >= max_bytes || !self.advance()? {
                return Ok(events);
            }
        }
    }

    /// Opens the segment that holds the next event, when that is another than the current one.
    fn advance(&mut self) -> io::Result<bool> {
        let want = self.after + 1;
        // A segment can be compressed (and removed) between the listing and the opening: list again.
        for _ in 0..8 {
            let Some(found) = segments(&self.dir)?.into_iter().rev().find(|segment| segment.first <= want) else {
                return Ok(false);
            };
            if self.current.as_ref().is_some_and(|(first, _)| *first == found.first) {
                return Ok(false);
            }
            match Segment::open(&found) {
                Ok(segment) => {
                    self.current = Some((found.first, segment));
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

#[derive(Debug)]
struct SegmentFile {
    first: u64,
    path: PathBuf,
    compressed: bool,
}

/// The segments in order. One that is there both ways counts once, as it was before.
fn segments(dir: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut found: Vec<SegmentFile> = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let Some(file_name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let (stem, compressed) = match (file_name.strip_suffix(".log"), file_name.strip_suffix(".log.zst")) {
            (Some(stem), _) => (stem, false),
            (None, Some(stem)) => (stem, true),
            (None, None) => continue,
        };
        if let Ok(first) = stem.parse() {
            found.push(SegmentFile { first, path, compressed });
        }
    }
    found.sort_by_key(|segment| (segment.first, segment.compressed));
    found.dedup_by_key(|segment| segment.first);
    Ok(found)
}

fn name(first: u64) -> String {
    format!("{first:020}.log")
}

fn create(dir: &Path, first: u64) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(dir.join(name(first)))
}

#[derive(Debug)]
enum Segment {
    /// May still grow.
    Open { file: File, buffer: Vec<u8>, start: usize },
    /// A whole one, decompressed: a little more than [`SEGMENT`] bytes.
    Closed { bytes: Vec<u8>, start: usize },
}

impl Segment {
    fn open(segment: &SegmentFile) -> io::Result<Self> {
        let file = File::open(&segment.path)?;
        if !segment.compressed {
            return Ok(Self::Open { file, buffer: Vec::new(), start: 0 });
        }
        let mut bytes = Vec::new();
        let limit = SEGMENT + MAX_RECORD as u64;
        zstd::stream::Decoder::new(file)?.take(limit).read_to_end(&mut bytes)?;
        Ok(Self::Closed { bytes, start: 0 })
    }

    /// The next whole record and its size in the file; nothing at the end or before a torn one.
    fn next_whole(&mut self) -> io::Result<Option<(Event, u64)>> {
        loop {
            let (buffer, start) = match self {
                Self::Open { buffer, start, .. } => (&*buffer, start),
                Self::Closed { bytes, start } => (&*bytes, start),
            };
            if let Some((event, size)) = parse(&buffer[*start..])? {
                *start += size;
                return Ok(Some((event, size as u64)));
            }
            let Self::Open { file, buffer, start } = self else { return Ok(None) };
            buffer.drain(..*start);
            *start = 0;
            if io::Read::take(&*file, 256 << 10).read_to_end(buffer)? == 0 {
                return Ok(None);
            }
        }
    }
}

impl Iterator for Segment {
    type Item = io::Result<(Event, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_whole().transpose()
    }
}

fn parse(bytes: &[u8]) -> io::Result<Option<(Event, usize)>> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else { return Ok(None) };
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = number(0) as usize;
    if length == 0 {
        return Ok(None); // No event is empty: zeros that a crash left.
    }
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a damaged record in the event log");
    if length > MAX_RECORD {
        return Err(damaged());
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    if crc32fast::hash(payload) != number(4) {
        return Err(damaged());
    }
    let event = Event::decode(payload).map_err(|_| damaged())?;
    Ok(Some((event, HEADER + length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_proto::v1::{BuildStarted, StepLog};

    fn started(service: &str) -> Kind {
        Kind::BuildStarted(BuildStarted { service: service.to_owned(), engine: String::new() })
    }

    #[test]
    fn numbers_go_on_after_a_restart_and_a_torn_record() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventLogWriter::open(dir.path(), "j").unwrap();
        assert_eq!(writer.append(started("a")).unwrap().seq, 1);
        assert_eq!(writer.append(started("b")).unwrap().seq, 2);
        drop(writer);
        let path = dir.path().join(name(1));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &[40, 0, 0, 0, 1, 2]].concat()).unwrap();
        let mut reader = EventLogReader::new(dir.path(), 0);
        assert_eq!(reader.read(usize::MAX).unwrap().len(), 2);
        let mut writer = EventLogWriter::open(dir.path(), "j").unwrap();
        assert_eq!(writer.append(started("c")).unwrap().seq, 3);
        let mut fresh = EventLogReader::new(dir.path(), 1);
        assert_eq!(fresh.read(usize::MAX).unwrap().iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn what_no_reader_believes_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventLogWriter::open(dir.path(), "j").unwrap();
        assert!(writer.append(started(&"x".repeat(MAX_RECORD))).is_err());
        assert_eq!(writer.append(started("a")).unwrap().seq, 1);
        assert_eq!(EventLogReader::new(dir.path(), 0).read(usize::MAX).unwrap().len(), 1);
    }

    #[test]
    fn a_reader_follows_through_compressed_segments() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventLogWriter::open(dir.path(), "j").unwrap();
        let mut reader = EventLogReader::new(dir.path(), 0);
        let mut seen = 0;
        for round in 1..=300u64 {
            let text = vec![b'x'; 64 << 10];
            let log = StepLog { service: "s".to_owned(), step: 1, stream: 1, text };
            assert_eq!(writer.append(Kind::StepLog(log)).unwrap().seq, round);
            for event in if round % 7 == 0 { reader.read(1 << 20).unwrap() } else { Vec::new() } {
                seen += 1;
                assert_eq!(event.seq, seen);
            }
        }
        loop {
            let events = reader.read(1 << 20).unwrap();
            if events.is_empty() {
                break;
            }
            for event in events {
                seen += 1;
                assert_eq!(event.seq, seen);
            }
        }
        assert_eq!(seen, 300);
        let mut late = EventLogReader::new(dir.path(), 150);
        assert_eq!(late.read(1).unwrap()[0].seq, 151);
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().any(|name| name.to_string_lossy().ends_with(".zst")), "{names:?}");
        drop(writer);
        assert_eq!(EventLogWriter::open(dir.path(), "j").unwrap().append(started("z")).unwrap().seq, 301);
    }
}
