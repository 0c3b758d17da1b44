//! The image in which commands run: every tool of it starts.

use slipway_journeys::Service;

#[test]
fn every_tool_of_the_runner_image_runs() {
    let service = Service::shared();
    let app = service.team().project();
    let tools = [
        ("bash --version", "GNU bash"),
        ("cue version", "cue version"),
        ("curl --version", "libcurl"),
        ("echo '$A' | A=substituted envsubst", "substituted"),
        ("git --version", "git version"),
        ("helm version", "v3."),
        ("kubectl version --client", "Client Version"),
        ("kustomize create --help", "kustomization"),
        ("make --version", "GNU Make"),
        ("okteto version", env!("CARGO_PKG_VERSION")),
        ("slipway version", env!("CARGO_PKG_VERSION")),
        ("ssh -V 2>&1", "OpenSSH"),
        ("command -v wait-for-it", "wait-for-it"),
        ("wait-for-it -t 5 ${OKTETO_CONTEXT#http://} -- echo waited", "waited"),
        ("test -s /etc/ssl/certs/ca-certificates.crt && echo certificates", "certificates"),
        ("(ssh-keygen -q -t ed25519 -N '' -f /tmp/k && ssh-agent sh -c 'ssh-add /tmp/k') 2>&1", "Identity added"),
    ];
    app.deploy(&tools.map(|(command, _)| command));
    let run = app.events(&["deploy"]).ok();
    for (index, (command, expected)) in tools.iter().enumerate() {
        let logs = run.all("command.log").into_iter().filter(|log| log["index"] == index && log["stream"] == "stdout");
        let said: String = logs.map(|log| log["text"].as_str().unwrap()).collect();
        assert!(said.contains(expected), "{command}: {said}");
    }
}
