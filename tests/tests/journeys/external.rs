//! `external`: what runs elsewhere, and where commands find it.

use slipway_journeys::Service;

const DATABASE: &str = "external:\n  my db:\n    endpoints:\n    - {name: read-only, url: 'https://${HOST:-db.example}/q'}\n    \
                        - {name: main}\n";

#[test]
fn commands_find_the_urls_of_what_runs_elsewhere_and_set_those_that_are_missing() {
    let service = Service::shared();
    let team = service.team();
    let variable = "OKTETO_EXTERNAL_MY_DB_ENDPOINTS_MAIN_URL";
    for remote in [true, false] {
        let app = team.project();
        let manifest = |set: &str| {
            format!(
                "{DATABASE}deploy:\n  remote: {remote}\n  commands:\n  - echo \
                 \"$OKTETO_EXTERNAL_MY_DB_ENDPOINTS_READ_ONLY_URL\"; {set}\n  - echo \"${{{variable}-none}}\"\n"
            )
        };
        app.manifest(&manifest("true"));
        let run = app.events(&["deploy"]).expect(1);
        assert_eq!(run.said(), "https://db.example/q\nnone\n");
        let error = &run.last("job.done")["error"];
        assert_eq!(error["code"], "variable_missing", "{error}");
        assert!(error["message"].as_str().unwrap().contains(variable), "{error}");

        app.manifest(&manifest(&format!("echo {variable}=https://made.example >>$OKTETO_ENV")));
        let run = app.events(&["deploy", "--var", "HOST=other"]).ok();
        assert_eq!(run.said(), "https://other/q\nhttps://made.example\n");
    }
    let app = team.project();
    // What the caller gives (and what is masked for that) counts more than the manifest's, and is enough.
    app.manifest(&format!("{DATABASE}deploy:\n  remote: true\n  commands: ['echo ${{{variable}#https://}}']\n"));
    let run = app.events(&["deploy", "--var", &format!("{variable}=https://given.example")]).ok();
    assert_eq!(run.said(), "given.example\n");
}
