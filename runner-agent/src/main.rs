//! The runner's first process. All of it is in the library, since `slipway` runs commands on its own machine the same way.

use std::{io::Write as _, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    if arguments.next().is_some_and(|program| slipway_runner_agent::login::is_helper(&program)) {
        return slipway_runner_agent::login::main(arguments.next().as_deref());
    }
    let verb = arguments.next();
    if verb.as_deref() == Some(slipway_runner_agent::connect::VERB) {
        return slipway_runner_agent::connect::main(&arguments.collect::<Vec<_>>());
    }
    if verb.as_deref() == Some("--version") {
        return match writeln!(std::io::stdout(), "slipway-runner-agent {}", env!("CARGO_PKG_VERSION")) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    slipway_runner_agent::agent::main()
}
