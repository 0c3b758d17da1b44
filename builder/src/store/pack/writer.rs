//! Writing a pack: under a temporary name, then sealed with a few `fsync`s for all its records together.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::{Dirs, Entry, HEADER, Header, MAX_PACK, MAX_RECORDS, PackId, index, sync_dir};
use crate::store::BlobError;

/// Bytes that wait for being written.
const BUFFER: usize = 256 << 10;

/// A pack that is being written. Dropped, it is gone.
#[derive(Debug)]
pub(in crate::store) struct PackWriter {
    id: PackId,
    dirs: Dirs,
    file: File,
    /// What is not written yet, after `written` bytes that are.
    buffer: Vec<u8>,
    written: u64,
    entries: Vec<Entry>,
    open: Option<(u64, Header)>,
    published: bool,
}

impl PackWriter {
    pub(in crate::store) fn create(dirs: &Dirs) -> Result<Self, BlobError> {
        let (id, dirs) = (PackId::new(), dirs.clone());
        let path = temporary(&dirs, id);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|source| BlobError::Pack { operation: "create", pack: id, source })?;
        let (buffer, entries) = (Vec::with_capacity(BUFFER), Vec::new());
        Ok(Self { id, dirs, file, buffer, written: 0, entries, open: None, published: false })
    }

    /// Begins a record.
    pub(in crate::store) fn begin(&mut self, header: Header) -> Result<(), BlobError> {
        self.abort()?;
        self.open = Some((self.bytes(), header));
        self.append(&header.encode())
    }

    /// Adds bytes of the content.
    pub(in crate::store) fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= BUFFER {
            self.file.write_all_at(bytes, self.written).map_err(self.failed("write"))?;
            self.written += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Keeps the record, whose content has been proved.
    pub(in crate::store) fn commit(&mut self) {
        if let Some((start, Header { digest, size, seconds })) = self.open.take() {
            // In bounds: a full pack gets no more, and no record is larger than `MAX_RECORD`.
            let offset = (start + HEADER as u64) as u32;
            self.entries.push(Entry { digest, offset, size: size as u32, seconds });
        }
    }

    /// Takes out the record that has been begun, with what has come of its content.
    pub(in crate::store) fn take_open(&mut self) -> Result<Option<(Header, Vec<u8>)>, BlobError> {
        let Some((start, header)) = self.open else { return Ok(None) };
        self.flush()?;
        let begin = start + HEADER as u64;
        let mut content = vec![0; (self.written - begin) as usize];
        self.file.read_exact_at(&mut content, begin).map_err(self.failed("read"))?;
        self.abort()?;
        Ok(Some((header, content)))
    }

    /// Whether it has no complete record.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the record that has been begun, if there is one.
    pub(in crate::store) fn abort(&mut self) -> Result<(), BlobError> {
        if let Some((start, _)) = self.open.take() {
            self.cut(start)?;
        }
        Ok(())
    }

    /// After a failed write: keeps the records that are in the file completely.
    pub(in crate::store) fn salvage(&mut self) -> Result<(), BlobError> {
        self.open = None;
        let written = self.written;
        self.entries.retain(|entry| entry.end() <= written);
        self.cut(self.entries.last().map_or(0, Entry::end))
    }

    /// Whether another pack has to be begun.
    pub(in crate::store) fn is_full(&self) -> bool {
        self.bytes() >= MAX_PACK || self.entries.len() >= MAX_RECORDS
    }

    /// Bytes so far.
    pub(in crate::store) fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Gives the pack its name once all of it is on the disk. Nothing happens when it is empty.
    pub(in crate::store) fn seal(mut self) -> Result<Option<PackId>, BlobError> {
        self.abort()?;
        if self.entries.is_empty() {
            return Ok(None);
        }
        self.flush()?;
        // What a failed write may have left behind the last record.
        self.file.set_len(self.written).map_err(self.failed("cut"))?;
        let entries = std::mem::take(&mut self.entries);
        publish(&self.dirs, self.id, &self.file, self.written, entries)?;
        self.published = true;
        Ok(Some(self.id))
    }

    fn flush(&mut self) -> Result<(), BlobError> {
        self.file.write_all_at(&self.buffer, self.written).map_err(self.failed("write"))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn cut(&mut self, end: u64) -> Result<(), BlobError> {
        if let Some(keep) = end.checked_sub(self.written) {
            self.buffer.truncate(keep as usize);
        } else {
            self.buffer.clear();
            self.file.set_len(end).map_err(self.failed("cut"))?;
            self.written = end;
        }
        Ok(())
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> BlobError + use<> {
        let pack = self.id;
        move |source| BlobError::Pack { operation, pack, source }
    }
}

impl Drop for PackWriter {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(temporary(&self.dirs, self.id));
        }
    }
}

fn temporary(dirs: &Dirs, id: PackId) -> PathBuf {
    dirs.tmp().join(format!("{id}.pack"))
}

/// Seals a complete pack in `tmp/`: first its bytes, then its index, then both names, the pack's last.
pub(in crate::store) fn publish(
    dirs: &Dirs,
    id: PackId,
    file: &File,
    bytes: u64,
    entries: Vec<Entry>,
) -> Result<(), BlobError> {
    let failed = |operation| move |source| BlobError::Pack { operation, pack: id, source };
    file.sync_all().map_err(failed("sync"))?;
    let temporary_index = dirs.tmp().join(format!("{id}.idx"));
    let indexed = index::write(&temporary_index, bytes, &index::sorted(entries))
        .map_err(failed("write the index of"))
        .and_then(|()| fs::rename(&temporary_index, dirs.index(id)).map_err(failed("name the index of")));
    if indexed.is_err() {
        let _ = fs::remove_file(&temporary_index);
    }
    indexed?;
    if let Err(source) = fs::rename(temporary(dirs, id), dirs.pack(id)) {
        let _ = fs::remove_file(dirs.index(id));
        return Err(failed("name")(source));
    }
    sync_dir(&dirs.packs()).map_err(failed("sync the name of"))
}
