//! slipwayd says what is wrong when it can't start.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use slipway_journeys::link::{Link, Shape};
use slipway_journeys::service::Options;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Service, engine_socket, on_docker};

/// A Docker Engine on its old image store, as far as `/info` goes.
fn old_docker(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = vec![0; 4096];
            let bytes = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..bytes]).into_owned();
            let (status, body) = if request.starts_with("GET /info") {
                (
                    "200 OK",
                    r#"{"Driver":"overlay2","DriverStatus":[["Backing Filesystem","extfs"]],"ServerVersion":"26.1.5"}"#,
                )
            } else {
                ("404 Not Found", "{}")
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
}

#[test]
fn a_docker_engine_on_its_old_image_store_is_refused_with_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    old_docker(&socket);
    let address = format!("docker://unix://{}", socket.display());
    let service = Service::prepare(Options::default().set("SLIPWAYD_ENGINE__ADDRESS", address));
    service.spawn();
    let (code, log) = service.ended();
    assert_eq!(code, Some(1), "{log}");
    for text in ["overlay2", "containerd", "buildkitd"] {
        assert!(log.contains(text), "{text} is not in: {log}");
    }
}

#[test]
fn a_service_that_starts_before_its_engine_waits_for_it_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let scheme = if on_docker() { "docker://unix" } else { "unix" };
    let address = format!("{scheme}://{}", socket.display());
    let service = Service::prepare(Options::default().set("SLIPWAYD_ENGINE__ADDRESS", &address));
    service.spawn();
    until("it says what it waits for", SOON, || service.log().contains(&address).then_some(()));
    assert_eq!((service.http_status("/healthz"), service.http_status("/readyz")), (Some(200), Some(503)));

    Link::unix_to_unix(&socket, &engine_socket(), Shape::NONE);
    service.ready();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY Dockerfile /\n").build_app();
}

#[test]
fn a_second_service_on_the_same_data_is_refused() {
    let service = Service::start();
    let again = Service::prepare(Options::default().set("SLIPWAYD_DATA_DIR", service.data_dir().display().to_string()));
    again.spawn();
    let (code, log) = again.ended();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("another slipwayd"), "{log}");
    assert_eq!(service.http_status("/readyz"), Some(200), "the first one is not disturbed");
}

#[test]
fn a_wrong_configuration_is_named_key_by_key() {
    let service = Service::prepare(
        Options::default().set("SLIPWAYD_PUBLIC_URL", "nonsense").set("SLIPWAYD_JOBS__MAX_RUNNING", "0"),
    );
    service.spawn();
    let (code, log) = service.ended();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("public_url") && log.contains("max_running"), "{log}");
}
