//! A terminal with a program in it: a pseudo terminal, and what somebody in front of it would see.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::wait::{LONG, until};

/// A program that runs in a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    near: File,
    screen: Arc<Mutex<Screen>>,
    status: Arc<Mutex<Option<i32>>>,
}

/// What a terminal shows. Lines that are too long go on in the next row; a window that gets smaller cuts them off.
#[derive(Debug)]
pub struct Screen {
    columns: usize,
    rows: Vec<Vec<char>>,
    /// Rows that go on with the line of the row above.
    continued: BTreeSet<usize>,
    /// Lines to come that were drawn for a wider window, maybe: they are cut off, too.
    stale: u32,
    row: usize,
    column: usize,
    escape: Option<String>,
    pending: Vec<u8>,
    /// The row of the cursor, and its text, whenever the cursor went back to the beginning of a row that was not empty.
    pub drawn: Vec<(usize, String)>,
    /// All that was written.
    pub bytes: Vec<u8>,
}

impl Terminal {
    /// Starts a program whose three streams are a terminal of so many columns; Ctrl-C in it is for the program.
    ///
    /// # Panics
    /// Where there is no pseudo terminal, or no program.
    pub fn start(command: &Command, columns: u16) -> Self {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("open a terminal");
        grantpt(&near).and_then(|()| unlockpt(&near)).expect("unlock a terminal");
        let name = ptsname(&near, Vec::new()).expect("a terminal's name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let far: OwnedFd = rustix::fs::open(name, flags, Mode::empty()).expect("open a terminal's far side");
        let mut terminal =
            Self { near: near.into(), screen: Arc::new(Mutex::new(Screen::new(columns))), status: Arc::default() };
        terminal.resize(columns);
        // Makes it the program's own, so that it gets signals from it; part of util-linux, which is everywhere.
        let mut whole = Command::new("setsid");
        whole.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear().env("TERM", "xterm");
        whole.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(dir) = command.get_current_dir() {
            whole.current_dir(dir);
        }
        let stream = || far.try_clone().expect("a terminal's far side");
        let mut child = whole.stdin(stream()).stdout(stream()).stderr(stream()).spawn().expect("start setsid");
        drop((whole, far));
        let mut reader = terminal.near.try_clone().expect("a terminal's near side");
        let (screen, status) = (terminal.screen.clone(), terminal.status.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // An error is the end: nobody has the far side open any more.
            while let Ok(bytes @ 1..) = reader.read(&mut buffer) {
                lock(&screen).write(&buffer[..bytes]);
            }
            let ended = child.wait().expect("wait for a program");
            *lock(&status) = Some(ended.code().unwrap_or_else(|| 128 + ended.signal().unwrap_or(0)));
        });
        terminal
    }

    /// Makes the window this wide.
    ///
    /// # Panics
    /// Where that can't be done.
    pub fn resize(&mut self, columns: u16) {
        let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.near, size).expect("set a terminal's size");
        lock(&self.screen).resize(columns.into());
    }

    /// Types something.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn write(&mut self, text: &str) {
        self.near.write_all(text.as_bytes()).expect("type");
    }

    /// Waits until the screen is so.
    pub fn until(&self, what: &str, is: impl Fn(&Screen) -> bool) {
        until(what, LONG, || {
            let screen = lock(&self.screen);
            let over = lock(&self.status).is_some();
            assert!(is(&screen) || !over, "the program ended without {what}:\n{}", screen.text().join("\n"));
            is(&screen).then_some(())
        });
    }

    /// Waits for the program's end: its status, and what the screen shows then.
    pub fn finish(self) -> (i32, Screen) {
        let status = until("the end of a program in a terminal", LONG, || *lock(&self.status));
        let screen = std::mem::replace(&mut *lock(&self.screen), Screen::new(80));
        (status, screen)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Screen {
    fn new(columns: u16) -> Self {
        Self {
            columns: columns.into(),
            rows: vec![Vec::new()],
            continued: BTreeSet::new(),
            stale: 0,
            row: 0,
            column: 0,
            escape: None,
            pending: Vec::new(),
            drawn: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Lines from the top, blanks at their ends left out, and empty ones at the bottom.
    pub fn text(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for (number, row) in self.rows.iter().enumerate() {
            match lines.last_mut() {
                Some(line) if self.continued.contains(&number) => line.extend(row),
                _ => lines.push(row.iter().collect()),
            }
        }
        let mut lines: Vec<_> = lines.iter().map(|line| line.trim_end().to_owned()).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    fn resize(&mut self, columns: usize) {
        self.stale = if columns < self.columns { 3 } else { self.stale };
        self.columns = columns;
        self.rows.iter_mut().for_each(|row| row.truncate(columns));
        self.column = self.column.min(columns);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pending.extend_from_slice(bytes);
        // The rest of a letter may come later.
        let whole = std::str::from_utf8(&self.pending).map_or_else(|error| error.valid_up_to(), str::len);
        let letters: Vec<u8> = self.pending.drain(..whole).collect();
        String::from_utf8(letters).expect("checked above").chars().for_each(|letter| self.letter(letter));
    }

    fn letter(&mut self, letter: char) {
        if let Some(mut escape) = self.escape.take() {
            escape.push(letter);
            if escape.len() > 1 && ('@'..='~').contains(&letter) {
                self.command(&escape);
            } else {
                self.escape = Some(escape);
            }
            return;
        }
        match letter {
            '\x1b' => self.escape = Some(String::new()),
            '\r' => {
                let text: String = self.rows[self.row].iter().collect();
                if !text.trim().is_empty() {
                    self.drawn.push((self.row, text));
                }
                self.column = 0;
                self.stale = self.stale.saturating_sub(1);
            }
            '\n' => self.down(1),
            _ if self.column == self.columns && self.stale > 0 => {}
            letter => {
                if self.column == self.columns {
                    self.column = 0;
                    self.down(1);
                    self.continued.insert(self.row);
                }
                let (row, column) = (&mut self.rows[self.row], self.column);
                if row.len() <= column {
                    row.resize(column + 1, ' ');
                }
                row[column] = letter;
                self.column += 1;
            }
        }
    }

    fn down(&mut self, rows: usize) {
        self.row += rows;
        if self.rows.len() <= self.row {
            self.rows.resize(self.row + 1, Vec::new());
        }
    }

    /// What follows an escape character.
    fn command(&mut self, escape: &str) {
        let number = escape[1..escape.len() - 1].parse().ok();
        let row = &mut self.rows[self.row];
        match (escape.chars().last(), number) {
            (Some('A'), number) => self.row = self.row.saturating_sub(number.unwrap_or(1)),
            (Some('B'), number) => self.down(number.unwrap_or(1)),
            (Some('K'), None | Some(0)) => row.truncate(self.column),
            (Some('K'), Some(2)) => row.clear(),
            (Some('m'), _) => {}
            _ => panic!("the terminal doesn't know {escape:?}"),
        }
    }
}
