//! What somebody sees in front of a terminal while a context is sent.

use std::collections::BTreeSet;
use std::time::Duration;

use slipway_journeys::link::{Link, Shape};
use slipway_journeys::terminal::{Screen, Terminal};
use slipway_journeys::{Project, Service, random};

/// Ten seconds for what is sent.
const SLOW: Shape = Shape { bytes_per_second: 2_000_000, delay: Duration::from_millis(10) };
const SIZE: usize = 20_000_000;

/// A project that takes a while to be sent, and the way there.
fn slow(service: &Service) -> (Project, Link) {
    let (address, link) = Link::to_tcp(service.address(), SLOW);
    let team = service.team();
    let app = team.project().of(&team.by_way_of(&format!("http://{address}")));
    app.image("FROM scratch\nCOPY data /data\n").file("data/large", random(SIZE));
    (app, link)
}

fn start(app: &Project, args: &[&str], columns: u16) -> Terminal {
    let mut command = app.team.command(args);
    command.current_dir(app.path());
    Terminal::start(&command, columns)
}

/// What the bar showed, and in which rows.
fn bars(screen: &Screen) -> (BTreeSet<usize>, Vec<&str>) {
    let bars = screen.drawn.iter().filter(|(_, text)| text.starts_with("sync ")).map(|(row, text)| (*row, text.trim()));
    bars.unzip()
}

/// Bytes of context that the last bar has counted.
fn has_bytes(text: &str) -> bool {
    text.contains("MB of 20.") && text.contains("B/s") && text.contains("left")
}

/// How many different bars were drawn in the row of the first. The last one may be lower, with the job's first events above it.
fn redrawn(screen: &Screen) -> usize {
    let mut bars = screen.drawn.iter().filter(|(_, text)| text.starts_with("sync ")).peekable();
    let first = bars.peek().map(|(row, _)| *row);
    bars.filter(|(row, _)| Some(*row) == first).map(|(_, text)| text).collect::<BTreeSet<_>>().len()
}

/// What is drawn of the bar after a row that says how the sync ended.
fn drawn_after_the_end(screen: &Screen) -> Vec<&str> {
    let texts = screen.drawn.iter().map(|(_, text)| text.as_str());
    texts.skip_while(|text| !text.starts_with("sync: ")).filter(|text| text.starts_with("sync ")).collect()
}

/// Nothing of the bar, and every row begins as a line of plain output does.
fn assert_clean(screen: &Screen) {
    let rows = screen.text();
    let begins = ["job ", "sync: ", "app ", "slipway: ", "warning: ", "error: ", "hint: "];
    for row in &rows {
        assert!(begins.iter().any(|begin| row.starts_with(begin)), "{row:?} in\n{}", rows.join("\n"));
    }
    assert!(!rows.iter().any(|row| row.contains('█') || row.contains("left")), "{}", rows.join("\n"));
}

#[test]
fn a_bar_shows_how_far_the_sync_is_and_is_gone_afterwards() {
    let service = Service::shared();
    let (app, _link) = slow(&service);
    let (status, screen) = start(&app, &["build"], 80).finish();
    assert_eq!(status, 0, "{}", screen.text().join("\n"));
    let (rows, texts) = bars(&screen);
    assert!(texts.iter().filter(|text| has_bytes(text)).count() > 5, "{texts:?}");
    assert!(rows.len() <= 2 && redrawn(&screen) > 5, "in the same row: {:?}", screen.drawn);
    assert_eq!(drawn_after_the_end(&screen), [""; 0]);
    assert!(texts.iter().all(|text| text.chars().count() <= 76), "{texts:?}");
    assert_clean(&screen);
    let shown = screen.text();
    assert!(
        shown.iter().any(|row| row.starts_with("sync: ") && row.contains(" 20.0 MB; sent ")),
        "{}",
        shown.join("\n")
    );
    assert!(shown.last().unwrap().contains("job succeeded"), "{}", shown.join("\n"));
}

#[test]
fn the_bar_fits_a_window_of_any_width_that_changes() {
    let service = Service::shared();
    let (app, _link) = slow(&service);
    let mut terminal = start(&app, &["build"], 120);
    let drawn = |screen: &Screen| bars(screen).1.len();
    let mut before = 0;
    for columns in [120, 60, 30, 100, 12] {
        terminal.resize(columns);
        let seen = std::cell::Cell::new(0);
        // The first may be one that was under way.
        terminal.until("the bar in a window of another width", |screen| {
            seen.set(drawn(screen));
            drawn(screen) > before + 2
        });
        before = seen.get();
    }
    terminal.resize(120);
    let (status, screen) = terminal.finish();
    assert_eq!(status, 0, "{}", screen.text().join("\n"));
    let (rows, texts) = bars(&screen);
    assert!(rows.len() <= 2 && redrawn(&screen) > 5, "in the same row: {:?}", screen.drawn);
    assert_eq!(drawn_after_the_end(&screen), [""; 0]);
    assert!(texts.iter().any(|text| has_bytes(text)), "{texts:?}");
    assert!(texts.iter().any(|text| text.ends_with('%') && text.len() <= 9), "{texts:?}");
    assert_clean(&screen);
}

#[test]
fn what_is_said_meanwhile_is_not_mixed_up_with_the_bar() {
    let service = Service::shared();
    let (app, link) = slow(&service);
    let mut terminal = start(&app, &["build"], 80);
    let bar = |screen: &Screen| bars(screen).1.len();
    terminal.until("a bar", |screen| bar(screen) > 3);
    link.cut();
    terminal.until("a note", |screen| screen.text().iter().any(|row| row.starts_with("slipway: lost the connection")));
    let note = |screen: &Screen| screen.text().iter().position(|row| row.starts_with("slipway: lost")).unwrap();
    terminal.until("the bar below it", |screen| screen.drawn.last().is_some_and(|(row, _)| *row > note(screen)));
    // As one types it: the terminal shows `^C` where the cursor is.
    terminal.write("\x03");
    let (status, screen) = terminal.finish();
    assert_eq!(status, 130, "{}", screen.text().join("\n"));
    assert_clean(&screen);
    let shown = screen.text();
    assert!(shown.iter().any(|row| row.starts_with("slipway: cancelling job ")), "{}", shown.join("\n"));
    assert!(shown.iter().any(|row| row.contains("job cancelled")), "{}", shown.join("\n"));
}

#[test]
fn without_a_terminal_or_where_it_is_not_wanted_there_is_no_bar() {
    let service = Service::shared();
    let (app, _link) = slow(&service);
    for args in [&["build"][..], &["build", "--output", "tty"]] {
        app.file("data/large", random(SIZE / 2));
        let run = app.slipway(args).ok();
        let all = run.out() + &run.stderr;
        assert!(!all.contains(['\r', '\x1b', '█']), "{args:?}: {all:?}");
    }
    for (output, kind) in [("plain", "xterm"), ("json", "xterm"), ("tty", "dumb"), ("auto", "")] {
        app.file("data/large", random(SIZE / 2));
        let mut command = app.team.command(["build", "--output", output]);
        command.current_dir(app.path()).env("TERM", kind);
        let (status, screen) = Terminal::start(&command, 1000).finish();
        assert_eq!(status, 0, "{}", screen.text().join("\n"));
        assert_eq!(bars(&screen), (BTreeSet::new(), Vec::new()));
        assert!(!screen.bytes.contains(&0x1b), "{output}");
        if output == "json" {
            for row in screen.text() {
                assert!(row.starts_with('{') && row.ends_with('}'), "{row}");
            }
        } else {
            assert!(screen.text().iter().any(|row| row.starts_with("sync: sent ")), "progress as lines");
        }
    }
}

#[test]
fn what_a_build_does_is_drawn_below_what_it_has_done() {
    let service = Service::shared();
    let app = service.team().project();
    let step = "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.5; done";
    app.manifest("build:\n  app: .\n  other: .\ndeploy:\n  remote: true\n  commands:\n  - printf 'no end'; sleep 1; echo; echo over\n");
    app.file(
        "Dockerfile",
        format!("FROM debian:trixie-slim\nRUN : {}; {step}\nRUN true\n", slipway_journeys::unique("m")),
    );
    let (status, screen) = start(&app, &["deploy"], 100).finish();
    let shown = screen.text();
    assert_eq!(status, 0, "{}", shown.join("\n"));
    // While it ran: its time went on, and what it said was below it.
    let drawn: BTreeSet<_> = screen.drawn.iter().map(|(_, text)| text.trim_end().to_owned()).collect();
    let running = drawn.iter().filter(|text| text.starts_with("> app [2/3] RUN")).count();
    assert!(running > 10, "{drawn:?}");
    assert!(drawn.iter().any(|text| text.starts_with("    line 5")), "{drawn:?}");
    // And afterwards nothing of that is left, but each step, both images and what the command said.
    let begins = [
        "job ",
        "sync: ",
        "app ",
        "other ",
        "images:",
        "  app ",
        "  other ",
        "deploy #",
        "no end",
        "over",
        "warning: ",
    ];
    for row in &shown {
        assert!(begins.iter().any(|begin| row.starts_with(begin)), "{row:?} in\n{}", shown.join("\n"));
    }
    for expected in ["app [2/3] RUN", "other ", "images:", "no end", "over", "job succeeded"] {
        assert!(shown.iter().any(|row| row.starts_with(expected)), "{expected} in\n{}", shown.join("\n"));
    }

    let (status, screen) = start(&app, &["build", "--output", "quiet"], 200).finish();
    let shown = screen.text();
    assert_eq!(status, 0, "{}", shown.join("\n"));
    assert!(shown.len() == 2 && shown.iter().all(|row| row.contains("@sha256:")), "{}", shown.join("\n"));
}
