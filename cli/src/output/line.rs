//! The terminal's last lines: a bar or a view draws them again and again, and whatever else is written meanwhile goes above.
//!
//! A line is shorter than the terminal is wide, and ends with its text: so there is room for the `^C` that the terminal
//! shows by itself, and a window that is made smaller has nothing to break in two.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, TermLike};

/// Columns that stay free.
const FREE: u16 = 4;
/// The longest line, and the shortest.
const LONGEST: u16 = 76;
const SHORTEST: u16 = 10;
/// Where the terminal doesn't say.
const USUAL: u16 = 80;
/// Often enough to look alive.
const HERTZ: u8 = 10;

/// What is drawn now. There is one standard error, whoever writes to it.
static LINE: Mutex<Line> = Mutex::new(Line { drawn: None, closed: false });

#[derive(Debug)]
struct Line {
    drawn: Option<(Kind, ProgressBar)>,
    /// What the bar of a sync would say has been said.
    closed: bool,
}

/// What can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// How far a sync is.
    Sync,
    /// What a job does now; may be several lines.
    View,
}

/// Draws this bar from now on, unless there is a view already, or the sync's has been closed.
pub(crate) fn show(kind: Kind, bar: &ProgressBar) {
    let mut line = line();
    let taken = line.closed || line.drawn.as_ref().is_some_and(|(drawn, _)| *drawn == Kind::View);
    if kind == Kind::Sync && taken {
        return;
    }
    let before = line.drawn.take();
    bar.set_draw_target(ProgressDrawTarget::term_like_with_hz(Box::new(LastLine::default()), HERTZ));
    line.drawn = Some((kind, bar.clone()));
    drop(line);
    clear(before);
}

/// Clears what is drawn of this kind, and draws nothing until there is another bar.
pub(crate) fn hide(kind: Kind) {
    let mut line = line();
    let before = line.drawn.take_if(|(drawn, _)| *drawn == kind);
    drop(line);
    clear(before);
}

/// Clears the sync's bar for good. A bar that does not know yet that its work is done is not drawn either.
pub(super) fn close() {
    line().closed = true;
    hide(Kind::Sync);
}

fn clear(drawn: Option<(Kind, ProgressBar)>) {
    if let Some((_, bar)) = drawn {
        bar.finish_and_clear();
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// How long the line may be now.
pub(crate) fn columns() -> u16 {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    let columns = size.map(|size| size.ws_col).filter(|columns| *columns > 0).unwrap_or(USUAL);
    columns.saturating_sub(FREE).clamp(SHORTEST, LONGEST)
}

/// How long lines may be, and how many rows there are.
pub(super) fn size() -> (u16, u16) {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    (columns(), size.map(|size| size.ws_row).filter(|rows| *rows > 0).unwrap_or(24))
}

/// Writes with the bar out of the way. It must not be called by what it calls.
pub(super) fn above<T>(write: impl FnOnce() -> T) -> T {
    let bar = line().drawn.as_ref().map(|(_, bar)| bar.clone());
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

fn line() -> MutexGuard<'static, Line> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Standard error as the bar sees it; each drawing is one write.
#[derive(Debug, Default)]
struct LastLine {
    written: Mutex<Vec<u8>>,
    /// A line has been written, and another one may follow.
    ended: AtomicBool,
}

impl LastLine {
    fn put(&self, text: &str) -> io::Result<()> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes())
    }

    fn go(&self, n: usize, to: char) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.put(&format!("\x1b[{n}{to}")) }
    }
}

impl TermLike for LastLine {
    fn width(&self) -> u16 {
        columns()
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(text)?;
        self.put("\n")
    }

    /// indicatif ends each line by filling it up with blanks, so that a terminal goes on in the next row by itself. This one
    /// says that it is narrower than it is, so a line's end has to be written, when another one follows.
    fn write_str(&self, text: &str) -> io::Result<()> {
        if text.chars().all(|character| character == ' ') {
            self.ended.store(true, Ordering::Relaxed);
            return Ok(());
        }
        if self.ended.swap(false, Ordering::Relaxed) {
            self.put("\x1b[K\n")?;
        }
        self.put(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let mut text = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        self.ended.store(false, Ordering::Relaxed);
        // The line before may have been longer, in a window that was larger.
        text.extend(b"\x1b[K");
        io::stderr().write_all(&text)
    }
}
