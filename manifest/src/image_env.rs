//! The five variables of every built image, as Okteto forms them.

use serde::{Deserialize, Serialize};

use crate::{
    dotenv::{self, WriteError},
    names::ServiceName,
    reference::{self, InvalidReference},
};

/// The tag that Okteto puts before a digest in `OKTETO_BUILD_<SVC>_SHA`.
const DEFAULT_TAG: &str = "okteto";

/// The last parts of the variables' names, in the order in which they are listed.
pub const FIELDS: [&str; 5] = ["REGISTRY", "REPOSITORY", "IMAGE", "TAG", "SHA"];

/// `OKTETO_BUILD_*` of the images built so far, in build order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageEnv {
    images: Vec<ImageVariables>,
}

/// One image's variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ImageVariables {
    service: ServiceName,
    variables: Vec<(String, String)>,
}

impl ImageEnv {
    /// Adds a service's image, or replaces it.
    ///
    /// ```
    /// use slipway_manifest::{ImageEnv, ServiceName};
    ///
    /// let mut env = ImageEnv::default();
    /// env.extend(&ServiceName::new("web-api").unwrap(), "reg.example/dev/x@sha256:ab")?;
    /// assert_eq!(env.lookup("OKTETO_BUILD_WEB_API_SHA"), Some("okteto@sha256:ab"));
    /// # Ok::<(), slipway_manifest::InvalidReference>(())
    /// ```
    pub fn extend(&mut self, service: &ServiceName, image: &str) -> Result<(), InvalidReference> {
        let reference = reference::parse(image)?;
        let tag = reference.digest.or(reference.tag).unwrap_or("latest");
        let sha = if tag.starts_with("sha256:") { format!("{DEFAULT_TAG}@{tag}") } else { tag.to_owned() };
        let values = [reference.registry.to_owned(), reference.repository, image.to_owned(), tag.to_owned(), sha];
        let variables = variable_names(service).into_iter().zip(values).collect();
        let image = ImageVariables { service: service.clone(), variables };
        match self.images.iter_mut().find(|known| known.service == *service) {
            Some(known) => *known = image,
            None => self.images.push(image),
        }
        Ok(())
    }

    /// Adds all images of another one; those of a service that both have are replaced.
    pub fn extend_all(&mut self, others: &Self) {
        for image in &others.images {
            match self.images.iter_mut().find(|known| known.service == image.service) {
                Some(known) => *known = image.clone(),
                None => self.images.push(image.clone()),
            }
        }
    }

    /// The service and the reference of every image, in build order.
    pub fn images(&self) -> impl Iterator<Item = (&ServiceName, &str)> {
        // The third of `FIELDS`.
        self.images.iter().filter_map(|image| Some((&image.service, image.variables.get(2)?.1.as_str())))
    }

    /// The value of a variable.
    pub fn lookup(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All variables: images in build order, of each the five of [`FIELDS`].
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.images.iter().flat_map(|image| &image.variables).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether no image was built.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// As a dotenv file, for bash, docker compose and GitHub Actions.
    pub fn to_dotenv(&self) -> Result<String, WriteError> {
        dotenv::write_dotenv(self.iter())
    }

    /// As `export` lines.
    pub fn to_shell(&self) -> Result<String, WriteError> {
        dotenv::write_shell(self.iter())
    }

    /// As one JSON object, in the same order.
    pub fn to_json(&self) -> String {
        dotenv::write_json(self.iter())
    }
}

/// The names of a service's five variables, in the order of [`FIELDS`].
pub fn variable_names(service: &ServiceName) -> [String; 5] {
    let part = service.variable_part();
    FIELDS.map(|field| format!("OKTETO_BUILD_{part}_{field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_variables_byte_for_byte() {
        let digest = format!("sha256:{}", "7".repeat(64));
        let pinned = format!("registry.example/dev/web@{digest}");
        let tagged_and_pinned = format!("127.0.0.1:7701/dev/web:v1@{digest}");
        let sha = format!("okteto@{digest}");
        for (image, registry, repository, tag, sha) in [
            ("reg/ns/x@sha256:d", "reg", "ns/x", "sha256:d", "okteto@sha256:d"),
            (pinned.as_str(), "registry.example", "dev/web", digest.as_str(), sha.as_str()),
            (tagged_and_pinned.as_str(), "127.0.0.1:7701", "dev/web", &digest, &sha),
            ("registry.example/dev/web:v1", "registry.example", "dev/web", "v1", "v1"),
            ("registry.example/dev/web", "registry.example", "dev/web", "latest", "latest"),
            ("registry.example:5000/web", "registry.example:5000", "web", "latest", "latest"),
            ("localhost:5000/a/b/c:1", "localhost:5000", "a/b/c", "1", "1"),
            ("nginx", "index.docker.io", "library/nginx", "latest", "latest"),
            ("acme/web:2", "index.docker.io", "acme/web", "2", "2"),
            ("docker.io/acme/web", "index.docker.io", "acme/web", "latest", "latest"),
            ("a@sha512:ff", "index.docker.io", "library/a", "sha512:ff", "sha512:ff"),
        ] {
            let mut env = ImageEnv::default();
            env.extend(&ServiceName::new("my-svc").unwrap(), image).unwrap();
            let all: Vec<(&str, &str)> = env.iter().collect();
            let expected = [
                ("OKTETO_BUILD_MY_SVC_REGISTRY", registry),
                ("OKTETO_BUILD_MY_SVC_REPOSITORY", repository),
                ("OKTETO_BUILD_MY_SVC_IMAGE", image),
                ("OKTETO_BUILD_MY_SVC_TAG", tag),
                ("OKTETO_BUILD_MY_SVC_SHA", sha),
            ];
            assert_eq!(all, expected, "{image}");
        }
    }

    #[test]
    fn renderings_keep_build_order() {
        let mut env = ImageEnv::default();
        for (service, image) in [("web", "r.io/dev/web:1"), ("api", "r.io/dev/api:1"), ("web", "r.io/dev/web:2")] {
            env.extend(&ServiceName::new(service).unwrap(), image).unwrap();
        }
        insta::assert_snapshot!(env.to_dotenv().unwrap(), @"
        OKTETO_BUILD_WEB_REGISTRY=r.io
        OKTETO_BUILD_WEB_REPOSITORY=dev/web
        OKTETO_BUILD_WEB_IMAGE=r.io/dev/web:2
        OKTETO_BUILD_WEB_TAG=2
        OKTETO_BUILD_WEB_SHA=2
        OKTETO_BUILD_API_REGISTRY=r.io
        OKTETO_BUILD_API_REPOSITORY=dev/api
        OKTETO_BUILD_API_IMAGE=r.io/dev/api:1
        OKTETO_BUILD_API_TAG=1
        OKTETO_BUILD_API_SHA=1
        ");
        assert!(env.to_shell().unwrap().starts_with("export OKTETO_BUILD_WEB_REGISTRY=r.io\n"));
        let json: serde_json::Value = serde_json::from_str(&env.to_json()).unwrap();
        assert_eq!(json["OKTETO_BUILD_API_IMAGE"], "r.io/dev/api:1");
        let stored = serde_json::to_string(&env).unwrap();
        assert_eq!(serde_json::from_str::<ImageEnv>(&stored).unwrap(), env);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let error = ImageEnv::default().extend(&ServiceName::new("a").unwrap(), "No Image").unwrap_err();
        assert_eq!(error.to_string(), "invalid image reference `No Image`");
    }
}
