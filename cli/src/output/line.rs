//! The terminal's last line: a bar draws it again and again, and whatever else is written meanwhile goes above it.
//!
//! The line is shorter than the terminal is wide, and ends with its text: so there is room for the `^C` that the terminal
//! shows by itself, and a window that is made smaller has nothing to break in two.

use std::io::{self, Write as _};
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
static LINE: Mutex<Line> = Mutex::new(Line::Free);

#[derive(Debug)]
enum Line {
    Free,
    Drawn(ProgressBar),
    /// What a bar would say has been said.
    Closed,
}

/// Draws this bar from now on, unless the line is closed.
pub(crate) fn show(bar: &ProgressBar) {
    let mut line = line();
    if !matches!(*line, Line::Closed) {
        bar.set_draw_target(ProgressDrawTarget::term_like_with_hz(Box::new(LastLine::default()), HERTZ));
        *line = Line::Drawn(bar.clone());
    }
}

/// Clears the line, and draws nothing until there is another bar.
pub(crate) fn hide() {
    leave(Line::Free);
}

/// Clears the line for good. A bar that does not know yet that its work is done is not drawn either.
pub(super) fn close() {
    leave(Line::Closed);
}

fn leave(next: Line) {
    let mut line = line();
    let closed = matches!(*line, Line::Closed);
    let before = std::mem::replace(&mut *line, if closed { Line::Closed } else { next });
    drop(line);
    if let Line::Drawn(bar) = before {
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

/// Writes with the bar out of the way. It must not be called by what it calls.
pub(super) fn above<T>(write: impl FnOnce() -> T) -> T {
    let bar = match &*line() {
        Line::Drawn(bar) => Some(bar.clone()),
        Line::Free | Line::Closed => None,
    };
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

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let mut text = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        // The line before may have been longer, in a window that was larger; and blanks at its end would break, too.
        let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        text.truncate(end);
        text.extend(b"\x1b[K");
        io::stderr().write_all(&text)
    }
}
