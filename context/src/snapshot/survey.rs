//! Walking a directory tree and reading its files, on a few threads.
//!
//! A thread takes a directory, lists it, judges its entries, and leaves the directories and files that it found for whoever
//! has time; the newest first, so that little waits. What is ignored is neither entered nor read. What comes out does not
//! depend on who did what: the listings say which directory is in which.

use std::io;
use std::num::NonZero;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::cache::{Records, StatCache};
use super::hash::{Content, ContentReader};
use crate::filter::{Below, Filter, Verdict};
use crate::ignorefile::lossy;
use crate::mode::SYMLINK_MODE;
use crate::rules::Rules;
use crate::walk::{Listed, ListedKind, Root, WalkError, check_path, check_target, walk_order};
use crate::warning::Warning;

/// Files that are read in one go: neighbours, so that what is shared is touched once.
const BATCH: usize = 32;

/// How deep in the tree a directory that waits holds its parent open. Below it is found by its path, for there is a limit
/// to how many can be open.
const HELD: usize = 16;

/// What is surveyed.
#[derive(Clone, Copy)]
pub(super) struct Survey<'a> {
    pub(super) root: &'a Root,
    pub(super) rules: &'a Rules,
    /// What is wanted of what the rules leave.
    pub(super) only: Option<&'a Filter>,
    pub(super) cache: &'a StatCache,
    pub(super) threads: Option<usize>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Surveyed {
    /// Directories: the root first, each before those in it, in no order otherwise.
    pub(super) listings: Vec<Listing>,
    /// In walk order.
    pub(super) warnings: Vec<Warning>,
    /// Files that weren't read, because the cache knows them.
    pub(super) known: u64,
    /// Files that the cache should know from now on.
    pub(super) fresh: u64,
}

/// A directory that was looked into.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Below the root.
    pub(super) path: PathBuf,
    /// What is wanted, and directories in which something may be; in byte order.
    pub(super) items: Vec<Item>,
    /// The rules leave something in it, wanted or not. What its directories hold is for them to say.
    pub(super) occupied: bool,
    /// It vanished before it could be opened.
    pub(super) gone: bool,
}

/// An entry of a [`Listing`].
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: Box<str>,
    pub(super) mode: u32,
    pub(super) kind: ItemKind,
}

/// What an [`Item`] is.
#[derive(Debug)]
pub(super) enum ItemKind {
    /// A file; nothing only while it waits to be read.
    File(Option<Content>),
    /// A file that vanished before it could be opened.
    Gone,
    Symlink(Box<str>),
    Directory {
        /// Its number.
        listing: u32,
        /// The rules leave it in even if it is empty.
        ruled_in: bool,
        /// It is wanted if the rules leave it in.
        wanted: bool,
        /// Why no snapshot can hold it. That matters only if it is in, which is known when all in it is.
        problem: Option<Box<WalkError>>,
    },
}

enum Task {
    Directory(DirectoryTask),
    Files(FilesTask),
}

struct DirectoryTask {
    listing: u32,
    path: PathBuf,
    /// Its parent, open.
    parent: Option<Arc<OwnedFd>>,
    depth: usize,
    above: Above,
    /// Nothing of it is wanted for its own sake, so that it may be unreadable.
    tolerant: bool,
}

struct FilesTask {
    listing: u32,
    path: Arc<Path>,
    directory: Arc<OwnedFd>,
    /// Places in the listing, and names.
    files: Vec<(u32, Box<str>)>,
}

/// What the two filters said of a directory; nothing for the root.
#[derive(Default)]
struct Above {
    rules: Option<Below>,
    only: Option<Below>,
}

#[derive(Default)]
struct Queue {
    tasks: Vec<Task>,
    /// Tasks that wait or are being done.
    open: usize,
    /// Number of the next listing.
    next: u32,
    failed: bool,
}

struct Crew<'a> {
    survey: Survey<'a>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// One thread and what it has found.
struct Worker<'a> {
    crew: &'a Crew<'a>,
    reader: ContentReader,
    listings: Vec<(u32, Listing)>,
    /// Files that waited: listing, place in it, and what they are now.
    files: Vec<(u32, u32, ItemKind)>,
    warnings: Vec<(PathBuf, Warning)>,
    failures: Vec<(PathBuf, WalkError)>,
    known: u64,
    fresh: u64,
}

// === impl Survey ===

impl Survey<'_> {
    /// Walks and reads. Of several errors, the one that comes first in walk order.
    pub(super) fn run(self) -> Result<Surveyed, WalkError> {
        let processors = || thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 8);
        let threads = self.threads.unwrap_or_else(processors).clamp(1, 64);
        let root = DirectoryTask {
            listing: 0,
            path: PathBuf::new(),
            parent: None,
            depth: 0,
            above: Above::default(),
            tolerant: false,
        };
        let queue = Queue { tasks: vec![Task::Directory(root)], open: 1, next: 1, failed: false };
        let crew = Crew { survey: self, queue: Mutex::new(queue), changed: Condvar::new() };
        let crew = &crew;
        let workers = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(move || Worker::new(crew).run())).collect();
            let mut workers = vec![Worker::new(crew).run()];
            for other in others {
                match other.join() {
                    Ok(worker) => workers.push(worker),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            workers
        });
        merge(workers)
    }
}

fn merge(workers: Vec<Worker<'_>>) -> Result<Surveyed, WalkError> {
    let mut result = Surveyed::default();
    let (mut warnings, mut failures, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for worker in workers {
        for (at, listing) in worker.listings {
            let at = at as usize;
            if result.listings.len() <= at {
                result.listings.resize_with(at + 1, Listing::default);
            }
            if let Some(place) = result.listings.get_mut(at) {
                *place = listing;
            }
        }
        warnings.extend(worker.warnings);
        failures.extend(worker.failures);
        files.push(worker.files);
        result.known += worker.known;
        result.fresh += worker.fresh;
    }
    if let Some((_, error)) = failures.into_iter().min_by(|(a, _), (b, _)| walk_order(a, b)) {
        return Err(error);
    }
    for (listing, at, kind) in files.into_iter().flatten() {
        let item = result.listings.get_mut(listing as usize).and_then(|listing| listing.items.get_mut(at as usize));
        if let Some(item) = item {
            item.kind = kind;
        }
    }
    warnings.sort_by(|(a, _), (b, _)| walk_order(a, b));
    result.warnings = warnings.into_iter().map(|(_, warning)| warning).collect();
    Ok(result)
}

// === impl Crew ===

impl Crew<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next task; waits while others may still find some. `None`: all is done, or has failed.
    fn take(&self) -> Option<Task> {
        let mut queue = self.lock();
        loop {
            if queue.failed || queue.open == 0 {
                return None;
            }
            if let Some(task) = queue.tasks.pop() {
                return Some(task);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Numbers for new listings.
    fn reserve(&self, count: usize) -> u32 {
        let mut queue = self.lock();
        let first = queue.next;
        queue.next += count as u32;
        first
    }

    fn add(&self, tasks: Vec<Task>) {
        if !tasks.is_empty() {
            let mut queue = self.lock();
            queue.open += tasks.len();
            queue.tasks.extend(tasks);
            drop(queue);
            self.changed.notify_all();
        }
    }

    fn done(&self, failed: bool) {
        let mut queue = self.lock();
        queue.open -= 1;
        queue.failed |= failed;
        if queue.open == 0 || failed {
            drop(queue);
            self.changed.notify_all();
        }
    }
}

/// Ends everybody's work if a thread panics, so that nobody waits for it.
struct Guard<'a>(&'a Crew<'a>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().failed = true;
            self.0.changed.notify_all();
        }
    }
}

// === impl Worker ===

impl<'a> Worker<'a> {
    fn new(crew: &'a Crew<'a>) -> Self {
        Self {
            crew,
            reader: ContentReader::default(),
            listings: Vec::new(),
            files: Vec::new(),
            warnings: Vec::new(),
            failures: Vec::new(),
            known: 0,
            fresh: 0,
        }
    }

    fn run(mut self) -> Self {
        let _guard = Guard(self.crew);
        while let Some(task) = self.crew.take() {
            let result = match task {
                Task::Directory(task) => self.directory(task),
                Task::Files(task) => self.files(&task),
            };
            let failed = result.is_err();
            self.failures.extend(result.err());
            self.crew.done(failed);
        }
        self
    }

    fn directory(&mut self, mut task: DirectoryTask) -> Result<(), (PathBuf, WalkError)> {
        let root = self.crew.survey.root;
        let opened = match task.parent.take() {
            Some(parent) => root.open_directory_in(parent.as_fd(), &task.path),
            None => root.open_directory(&task.path),
        };
        let (listed, open) = match opened.and_then(|fd| root.list_in(fd, &task.path)) {
            Ok(found) => found,
            Err(WalkError::Vanished { .. }) if task.depth > 0 => {
                self.listings.push((task.listing, Listing { path: task.path, gone: true, ..Listing::default() }));
                return Ok(());
            }
            Err(error) if task.tolerant && error.is_tolerable() => {
                self.listings.push((task.listing, Listing { path: task.path, ..Listing::default() }));
                return Ok(());
            }
            Err(error) => return Err((task.path, error)),
        };
        let mut look = Look::new(self.crew.survey, &task, listed.len());
        for entry in listed {
            let path = task.path.join(&entry.name);
            look.entry(entry, &path).map_err(|error| (path, error))?;
        }
        let Look { mut listing, mut directories, files, warnings, known, .. } = look;
        self.known += known;
        self.warnings.extend(warnings);
        if directories.is_empty() && files.is_empty() {
            listing.path = task.path;
            self.listings.push((task.listing, listing));
            return Ok(());
        }
        let fd = match open.fd().map_err(io::Error::from).and_then(|fd| fd.try_clone_to_owned()) {
            Ok(fd) => Arc::new(fd),
            Err(source) => return Err((task.path.clone(), WalkError::Read { path: root.full(&task.path), source })),
        };
        drop(open);
        let first = self.crew.reserve(directories.len());
        for (number, (at, directory)) in (first..).zip(&mut directories) {
            directory.listing = number;
            directory.parent = (task.depth < HELD).then(|| fd.clone());
            if let Some(Item { kind: ItemKind::Directory { listing, .. }, .. }) = listing.items.get_mut(*at) {
                *listing = number;
            }
        }
        // The first in order is taken first.
        self.crew.add(directories.into_iter().rev().map(|(_, directory)| Task::Directory(directory)).collect());
        self.files_of(&task, files, &mut listing, &fd)?;
        listing.path = task.path;
        self.listings.push((task.listing, listing));
        Ok(())
    }

    /// Reads the files of a directory: a few at once, the others when somebody has time.
    fn files_of(
        &mut self,
        task: &DirectoryTask,
        mut files: Vec<(u32, Box<str>)>,
        listing: &mut Listing,
        directory: &Arc<OwnedFd>,
    ) -> Result<(), (PathBuf, WalkError)> {
        let later = files.split_off(files.len().min(BATCH));
        if !later.is_empty() {
            let path: Arc<Path> = task.path.as_path().into();
            let batches = later.chunks(BATCH).rev().map(|files| {
                let (path, directory) = (path.clone(), directory.clone());
                Task::Files(FilesTask { listing: task.listing, path, directory, files: files.to_vec() })
            });
            self.crew.add(batches.collect());
        }
        for (at, name) in files {
            let kind = self.file(&task.path, &name, directory)?;
            if let Some(item) = listing.items.get_mut(at as usize) {
                item.kind = kind;
            }
        }
        Ok(())
    }

    fn files(&mut self, task: &FilesTask) -> Result<(), (PathBuf, WalkError)> {
        for (at, name) in &task.files {
            let kind = self.file(&task.path, name, &task.directory)?;
            self.files.push((task.listing, *at, kind));
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: &str, directory: &OwnedFd) -> Result<ItemKind, (PathBuf, WalkError)> {
        let path = path.join(name);
        match self.reader.read(self.crew.survey.root, directory.as_fd(), &path) {
            Ok(content) => {
                self.fresh += u64::from(self.crew.survey.cache.settled().includes(&content.stamp));
                Ok(ItemKind::File(Some(content)))
            }
            Err(WalkError::Vanished { .. }) => Ok(ItemKind::Gone),
            Err(error) => Err((path, error)),
        }
    }
}

/// A look at the entries of one directory.
struct Look<'a, 't> {
    survey: Survey<'a>,
    task: &'t DirectoryTask,
    records: Records<'a>,
    /// Path of the entry, as filters see it; up to `prefix` it is that of the directory.
    text: String,
    prefix: usize,
    listing: Listing,
    /// Places in the listing, and what is to be done.
    directories: Vec<(usize, DirectoryTask)>,
    files: Vec<(u32, Box<str>)>,
    warnings: Vec<(PathBuf, Warning)>,
    known: u64,
}

// === impl Look ===

impl<'a, 't> Look<'a, 't> {
    fn new(survey: Survey<'a>, task: &'t DirectoryTask, entries: usize) -> Self {
        let mut text = lossy(task.path.as_os_str().as_bytes());
        if !text.is_empty() {
            text.push('/');
        }
        let listing = Listing { items: Vec::with_capacity(entries), ..Listing::default() };
        Self {
            survey,
            task,
            records: survey.cache.records(&task.path),
            prefix: text.len(),
            text,
            listing,
            directories: Vec::new(),
            files: Vec::new(),
            warnings: Vec::new(),
            known: 0,
        }
    }

    fn entry(&mut self, entry: Listed, path: &Path) -> Result<(), WalkError> {
        self.text.truncate(self.prefix);
        match entry.name.to_str() {
            Some(name) => self.text.push_str(name),
            None => self.text.push_str(&lossy(entry.name.as_bytes())),
        }
        let is_directory = matches!(entry.kind, ListedKind::Directory);
        let (verdict, below) = self.judge(is_directory)?;
        if verdict == Verdict::Prune || verdict == Verdict::Skip && !is_directory {
            return Ok(());
        }
        let (wanted, only) = self.judge_wanted(is_directory);
        let above = Above { rules: Some(below), only };
        if is_directory {
            return self.directory(&entry, path, verdict == Verdict::Include, wanted, above);
        }
        let special = entry.kind.special();
        self.listing.occupied |= special.is_none();
        if wanted != Verdict::Include {
            return Ok(());
        }
        if let Some(kind) = special {
            let warning = Warning::SpecialFile { path: self.text.clone(), kind };
            self.warnings.push((path.to_owned(), warning));
            return Ok(());
        }
        check_path(self.survey.root, path)?;
        let mode = entry.mode.map_err(|error| self.survey.root.error(path, error))?;
        let name: Box<str> = self.text[self.prefix..].into();
        let (mode, kind) = match entry.kind {
            ListedKind::Symlink(target) => {
                (SYMLINK_MODE, ItemKind::Symlink(check_target(self.survey.root, path, target)?.into()))
            }
            ListedKind::File(stamp) => {
                let content = self.records.find(name.as_bytes(), &stamp);
                if content.is_some() {
                    self.known += 1;
                } else {
                    self.files.push((self.listing.items.len() as u32, name.clone()));
                }
                (mode, ItemKind::File(content))
            }
            // Neither gets here.
            ListedKind::Directory | ListedKind::Special(_) => {
                return Err(WalkError::Changed { path: self.survey.root.full(path) });
            }
        };
        self.listing.items.push(Item { name, mode, kind });
        Ok(())
    }

    fn directory(
        &mut self,
        entry: &Listed,
        path: &Path,
        ruled_in: bool,
        wanted: Verdict,
        above: Above,
    ) -> Result<(), WalkError> {
        self.listing.occupied |= ruled_in;
        if wanted == Verdict::Prune {
            return Ok(());
        }
        let root = self.survey.root;
        let wanted = wanted == Verdict::Include;
        let surely = ruled_in && wanted;
        let mode = check_path(root, path).and_then(|_| entry.mode.map_err(|error| root.error(path, error)));
        let (mode, problem) = match mode {
            Ok(mode) => (mode, None),
            Err(error) if surely => return Err(error),
            Err(error) => (0, Some(Box::new(error))),
        };
        let task = DirectoryTask {
            listing: 0,
            path: path.to_owned(),
            parent: None,
            depth: self.task.depth + 1,
            above,
            tolerant: !surely,
        };
        self.directories.push((self.listing.items.len(), task));
        let name = self.text[self.prefix..].into();
        let kind = ItemKind::Directory { listing: 0, ruled_in, wanted, problem };
        self.listing.items.push(Item { name, mode, kind });
        Ok(())
    }

    fn judge(&self, is_directory: bool) -> Result<(Verdict, Below), WalkError> {
        let rules = self.survey.rules;
        let judged = rules.filter().judge(&self.text, is_directory, self.task.above.rules.as_ref());
        Ok(judged.map_err(|error| rules.locate(error))?)
    }

    fn judge_wanted(&self, is_directory: bool) -> (Verdict, Option<Below>) {
        let Some(only) = self.survey.only else { return (Verdict::Include, None) };
        // Its patterns have been tried, none is bad.
        match only.judge(&self.text, is_directory, self.task.above.only.as_ref()) {
            Ok((verdict, below)) => (verdict, Some(below)),
            Err(_) => (Verdict::Include, None),
        }
    }
}
