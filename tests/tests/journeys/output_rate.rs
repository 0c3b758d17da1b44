//! A hundred thousand lines at more than ten thousand a second: whoever watches gets each of them once, in order. How fast is the
//! benchmark's to say.

use slipway_journeys::{Project, SectionImage, Service};

/// Bursts of so many lines, a tenth of a second after each other, so that others can come while they are written.
const BURST: u32 = 2000;
const BURSTS: u32 = 50;
const LINES: u32 = BURST * BURSTS;

#[test]
fn whoever_is_attached_gets_every_line_once_and_in_order() {
    let service = Service::shared();
    for image in [SectionImage::Runner, SectionImage::Busybox("1000:1000")] {
        gets_every_line(&service.team().project(), image);
    }
}

fn gets_every_line(app: &Project, image: SectionImage) {
    let burst = format!("seq $((n + 1)) $((n + {BURST})); n=$((n + {BURST})); sleep 0.1");
    app.deploy_in(image, &[&format!("n=0; while [ $n -lt {LINES} ]; do {burst}; done")]);
    let deploying = app.start_events(&["deploy"]);
    deploying.says("1\n2\n");
    let job = deploying.job();
    let attached = app.start_events(&["job", "attach", &job]);
    let following = app.start(["job", "logs", "--follow", &job]);
    let expected = (1..=LINES).fold(String::new(), |text, n| text + &n.to_string() + "\n");
    for watching in [deploying, attached] {
        let run = watching.finish().ok();
        assert_eq!(run.last("job.done")["status"], "succeeded", "{}", run.story());
        let said = run.said();
        assert!(said == expected, "{} bytes came, {} were written\n{}", said.len(), expected.len(), run.story());
        let sequence: Vec<_> = run.events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(sequence, (1..=run.events.len() as u64).collect::<Vec<_>>(), "numbered without gaps");
    }
    // In words, between what is said of the job.
    let run = following.finish().ok();
    let numbers = run.out().lines().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect::<Vec<u32>>();
    assert_eq!(numbers.len(), LINES as usize, "{}", run.story());
    assert!(numbers.into_iter().eq(1..=LINES), "in order");
}
