//! What commands find in their environment, besides what their image or the caller's shell sets.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use slipway_manifest::ImageEnv;
use slipway_manifest::plan::{CommandsPlan, Section};

/// What only the service knows, or gives.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its URL, as clients reach it.
    pub url: String,
    /// Its registry, `host[:port]`.
    pub registry: String,
    /// The namespace.
    pub namespace: String,
    /// Who asked.
    pub user: String,
    /// A token for it.
    pub token: SecretString,
}

/// The variables of a section's commands. `name` is the environment's; `remote` says that they run in the runner. Without a
/// service there are only those that need none.
pub fn environment(
    name: &str,
    commands: &CommandsPlan,
    images: &ImageEnv,
    service: Option<&Service>,
    remote: bool,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: &str| drop(env.insert(name.to_owned(), value.to_owned()));
    set("OKTETO_NAME", name);
    if let Some(test) = &commands.test {
        set("OKTETO_TEST_NAME", test);
    }
    if remote {
        set("OKTETO_DEPLOY_REMOTE", "true");
        set("OKTETO_SMART_BUILDS_ENABLED", "true");
    }
    if commands.section == Section::Deploy {
        set("OKTETO_WITHIN_DEPLOY_COMMAND_CONTEXT", "true");
        set("OKTETO_SKIP_CONFIG_CREDENTIALS_UPDATE", "true");
        set("OKTETO_DISABLE_SPINNER", "true");
    }
    if let Some(service) = service {
        set("OKTETO_DOMAIN", service.registry.strip_prefix("registry.").unwrap_or(&service.registry));
        set("OKTETO_USERNAME", &service.user);
        set("OKTETO_REGISTRY_URL", &service.registry);
    }
    for (name, value) in &commands.env {
        set(name, value);
    }
    for (name, value) in images.iter() {
        set(name, value);
    }
    if let Some(service) = service {
        // Not to be overridden.
        set("OKTETO_CONTEXT", &service.url);
        set("OKTETO_URL", &service.url);
        set("OKTETO_NAMESPACE", &service.namespace);
        set("OKTETO_TOKEN", service.token.expose_secret());
    }
    env
}

#[cfg(test)]
mod tests {
    use slipway_manifest::{Manifest, Plan, Selection, ServiceName, Variables};

    use super::*;

    fn commands(section: &str) -> CommandsPlan {
        let text = "name: ex\ndeploy: [x]\ndestroy: [x]\ntest: {unit: {commands: [x]}}\n";
        let selection = match section {
            "deploy" => Selection::deploy("d", slipway_manifest::plan::BuildMode::Never),
            "destroy" => Selection::destroy("d"),
            _ => Selection::test("d", Vec::new()),
        };
        let flags = [("MINE", "1"), ("OKTETO_NAME", "other")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = Variables::default().with_flags(flags).unwrap();
        let variables = variables.with_dotenv([("OKTETO_TOKEN".to_owned(), "stolen".to_owned())]);
        let manifest = Manifest::parse(text, "okteto.yaml").unwrap().manifest;
        let (plan, _) = Plan::new(&manifest, &selection, &variables).unwrap();
        plan.commands.into_iter().next().unwrap()
    }

    #[test]
    fn each_section_has_its_variables() {
        let mut images = ImageEnv::default();
        images.extend(&ServiceName::new("app").unwrap(), "registry.example.com/dev/ex-app@sha256:1").unwrap();
        let service = Service {
            url: "https://slipway.example.com".to_owned(),
            registry: "registry.example.com".to_owned(),
            namespace: "dev".to_owned(),
            user: "ann".to_owned(),
            token: "t".into(),
        };
        let mut text = String::new();
        let mut add = |title: &str, env: BTreeMap<String, String>| {
            text.push_str(title);
            text.extend(env.iter().map(|(name, value)| format!("\n  {name}={value}")));
            text.push('\n');
        };
        for section in ["deploy", "destroy", "test"] {
            add(section, environment("ex", &commands(section), &images, Some(&service), true));
        }
        add("local deploy", environment("ex", &commands("deploy"), &images, Some(&service), false));
        add("without a service", environment("ex", &commands("deploy"), &ImageEnv::default(), None, false));
        insta::assert_snapshot!(text);
    }
}
