//! Tools of commands find the credential helper, which knows the password that the commands have.

use slipway_runner_agent::Hello;

use crate::driver::{Agent, hello, shell};

#[test]
fn tools_are_logged_in_without_a_password_in_a_file() {
    let mut agent = Agent::start_with(&Hello { registry: Some("r.example:5000".to_owned()), ..hello() });
    let ask = "cat $DOCKER_CONFIG/config.json; echo; echo https://r.example:5000 | docker-credential-okteto get; \
               echo other.example | docker-credential-okteto get; echo $?";
    let mut run = shell(1, ask);
    for (name, value) in [("OKTETO_REGISTRY_URL", "r.example:5000"), ("OKTETO_TOKEN", "slw_x")] {
        run.env.push((name.to_owned(), value.to_owned()));
    }
    let outcome = agent.run(run);
    let text = outcome.text();
    let expected = concat!(
        r#"{"credHelpers":{"r.example:5000":"okteto"}}"#,
        "\n",
        r#"{"Secret":"slw_x","ServerURL":"https://r.example:5000","Username":"okteto"}"#,
        "\ncredentials not found in native keychain\n1\n"
    );
    assert_eq!(text, expected);
    // Who has a configuration keeps it.
    let mut run = shell(2, "echo $DOCKER_CONFIG");
    run.env.push(("DOCKER_CONFIG".to_owned(), "/own".to_owned()));
    assert_eq!(agent.run(run).text(), "/own\n");
    agent.finish();
}
