//! Commands that write what looks like our own records, or what would change a terminal: nobody believes them.

use slipway_journeys::terminal::Terminal;
use slipway_journeys::{Project, SectionImage, Service};

/// A frame as the agent says it: command 0 has exited with 0.
const EXIT: &str = r#"printf '\0\0\0\074\203\0\0\0\067{"index":0,"exit_code":0,"signal":null,"duration_ms":1}\0'"#;
/// Output of another command, and a warning.
const OUTPUT: &str = r"printf '\0\0\0\007\202\0\0\0\001\001hi\0\0\0\003\205bad'";

#[test]
fn what_looks_like_our_own_records_is_output() {
    let service = Service::shared();
    for image in SectionImage::EACH {
        looks_like_our_own_records(&service.team().project(), image);
    }
}

fn looks_like_our_own_records(app: &Project, image: SectionImage) {
    let line = r#"{"seq":9,"time":"2030-01-01T00:00:00Z","job":"x","type":"job.done","status":"succeeded"}"#;
    let first = format!("{EXIT}; {OUTPUT}; {EXIT} >&2; echo '{line}'; echo 'deploy #1 DONE 0.0s'; exit 0");
    app.deploy_in(image, &[&first, &format!("echo '{line}'; {EXIT}; exit 5"), "echo never"]);
    let run = app.events(&["deploy"]).expect(1);
    let codes: Vec<_> = run.all("command.done").iter().map(|done| done["exit_code"].clone()).collect();
    assert_eq!(codes, [0, 5]);
    assert_eq!((run.all("job.done").len(), run.last("job.done")["status"].as_str()), (1, Some("failed")));
    assert_eq!(run.last("job.done")["error"]["code"], "command_failed");
    assert!(run.all("warning").is_empty(), "{}", run.story());
    let sequence: Vec<_> = run.events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(sequence, (1..=run.events.len() as u64).collect::<Vec<_>>(), "numbered without gaps");
    let out = run.output("stdout");
    let count = |what: &str| out.windows(what.len()).filter(|bytes| *bytes == what.as_bytes()).count();
    assert_eq!((count(line), count("\"exit_code\":0"), count("never")), (2, 2, 0));
    assert!(run.output("stderr").ends_with(b"}\0"), "whole, by stream");

    // Also in words: what the service says of a job is on lines of its own.
    let plain = app.slipway(["deploy", "--output", "plain"]).expect(1);
    assert_eq!(plain.out().lines().filter(|text| text.ends_with(line)).count(), 2);
    assert!(plain.out().lines().any(|text| text.starts_with("deploy #2 ") && text.contains('5')), "{}", plain.out());
}

/// `/proc/1/fd/1` is where programs in containers like to log; here it is the channel.
#[test]
fn the_agents_channel_is_not_a_commands_to_write() {
    let service = Service::shared();
    for image in SectionImage::EACH {
        let app = service.team().project();
        let write =
            format!("{{ {EXIT}; }} >/proc/1/fd/1 || echo refused; {{ {EXIT}; }} >/proc/$PPID/fd/1 || echo refused");
        app.deploy_in(image, &[&format!("{write}; id -u"), &format!("{write}; exit 7")]);
        let run = app.events(&["deploy"]).expect(1);
        assert_eq!(run.said(), format!("refused\nrefused\n{}\nrefused\nrefused\n", image.uid()), "{image:?}");
        let codes: Vec<_> = run.all("command.done").iter().map(|done| done["exit_code"].clone()).collect();
        assert_eq!(codes, [0, 7], "{}", run.story());
    }
}

/// Binary: any byte, and no line end in it that is not its own.
#[test]
fn a_hundred_megabytes_without_a_line_end_are_complete() {
    let service = Service::shared();
    for image in [SectionImage::Runner, SectionImage::Busybox("1000:1000")] {
        a_hundred_megabytes(&service.team().project(), image);
    }
}

fn a_hundred_megabytes(app: &Project, image: SectionImage) {
    let commands = [
        "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end",
        "head -c 300000 /dev/urandom | tee kept; sha256sum <kept >&2",
    ];
    let run = app.deploy_in(image, &commands).events(&["deploy"]).ok();
    let out = run.output("stdout");
    let (text, rest) = out.split_at(100_000_000);
    assert!(text.iter().all(|byte| *byte == b'x') && rest.starts_with(b"\nend\n"));
    let binary = &rest[b"\nend\n".len()..];
    assert_eq!(binary.len(), 300_000);
    let sum = slipway_context::Digest::of(binary).hex();
    assert_eq!(run.output("stderr"), format!("{sum}  -\n").as_bytes());
    let codes: Vec<_> = run.all("command.done").iter().map(|done| done["exit_code"].clone()).collect();
    assert_eq!(codes, [0, 0]);
}

#[test]
fn escape_sequences_leave_the_terminal_as_it_was() {
    let service = Service::shared();
    for image in [SectionImage::Runner, SectionImage::Busybox("1000:1000")] {
        escape_sequences(&service.team().project(), image);
    }
}

fn escape_sequences(app: &Project, image: SectionImage) {
    let wild = r"printf 'one\n\033[2J\033[H\033[?1049h\033[?25l\033]0;title\007\033]52;c;aGk=\007\033[6n\033(0\016two\n\033[31mred'";
    app.deploy_in(image, &[wild, r"printf '\033]0;open'; sleep 0.1; echo hidden; echo three"]);
    let mut command = app.team.command(["deploy"]);
    command.current_dir(app.path());
    let (status, screen) = Terminal::start(&command, 100).finish();
    let shown = String::from_utf8_lossy(&screen.bytes).into_owned();
    assert_eq!(status, 0, "{shown:?}");
    for sequence in ["\u{1b}[2J", "\u{1b}[?1049", "\u{1b}]", "\u{1b}[6n", "\u{1b}(0", "\u{e}"] {
        assert!(!shown.contains(sequence), "{sequence:?} in {shown:?}");
    }
    // Its own progress may hide the cursor, and shows it again.
    assert_eq!(shown.matches("\u{1b}[?25l").count(), shown.matches("\u{1b}[?25h").count(), "{shown:?}");
    let red = shown.find("\u{1b}[31mred").unwrap();
    assert!(shown[red..].contains("\u{1b}[0m"), "the colour ends with its command: {shown:?}");
    let text = screen.text().join("\n");
    for line in ["one", "two", "three"] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    // In what a failure repeats just as little.
    app.deploy(&[r"printf '\033[?1049h\033]52;c;aGk=\007last words'; exit 3"]);
    let mut command = app.team.command(["deploy"]);
    command.current_dir(app.path());
    let (status, screen) = Terminal::start(&command, 100).finish();
    let told = String::from_utf8_lossy(&screen.bytes).into_owned();
    assert_eq!((status, told.contains("last words")), (1, true), "{told:?}");
    assert!(!told.contains("\u{1b}[?1049") && !told.contains("\u{1b}]"), "{told:?}");
    app.deploy(&[wild]);
    // Whoever asks for the events gets what was written.
    let events = app.events(&["deploy"]).ok();
    assert!(events.said().contains("\u{1b}[?1049h"));
}
