//! What only the service can fill in: values that depend on images it built.

use std::collections::BTreeMap;

use super::{
    create::SMART_BUILDS,
    types::{BuildPlan, CommandsPlan},
};
use crate::{
    expand::{ExpandError, Template},
    image_env::ImageEnv,
    names::default_image,
    reference::{self, InvalidReference},
};

/// Why a build can't be completed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompleteError {
    /// A build argument.
    #[error("expand build argument `{name}`")]
    Arg {
        /// The argument.
        name: String,
        /// Why.
        source: ExpandError,
    },
    /// An image's name.
    #[error("expand image `{image}`")]
    Image {
        /// The text.
        image: String,
        /// Why.
        source: ExpandError,
    },
    /// What came out is no image's name.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
}

impl BuildPlan {
    /// What the engine fetches as the context, Dockerfile included, where it is no folder of the client's: the URL of a git
    /// repository or of an archive.
    pub fn remote_context(&self) -> Option<&str> {
        // One that makes no sense is refused before.
        crate::options::named_context::remote(&self.context).ok().flatten()
    }

    /// The build arguments, sorted by name. From the weakest: `OKTETO_SMART_BUILDS_ENABLED=true`, the manifest's, the
    /// variables of all images built before, `--build-arg`.
    pub fn complete_args(&self, images: &ImageEnv) -> Result<Vec<(String, String)>, CompleteError> {
        let mut args = BTreeMap::from([(SMART_BUILDS.to_owned(), "true".to_owned())]);
        for (name, value) in &self.args {
            let value = expanded(value, images).map_err(|source| CompleteError::Arg { name: name.clone(), source })?;
            args.insert(name.clone(), value);
        }
        args.extend(images.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        args.extend(self.build_args.iter().cloned());
        Ok(args.into_iter().collect())
    }

    /// The references that the image is pushed as; the first one is what its variables name.
    pub fn images(&self, application: &str, images: &ImageEnv) -> Result<Vec<String>, CompleteError> {
        let text = match &self.image {
            Some(image) => expanded(image, images)
                .map_err(|source| CompleteError::Image { image: image.source().to_owned(), source })?,
            None => String::new(),
        };
        let mut references = split_images(&text);
        if references.is_empty() {
            references.push(default_image(application, &self.service));
        }
        for reference in &references {
            reference::parse(reference)?;
        }
        Ok(references)
    }
}

impl CommandsPlan {
    /// The image that the commands run in; none: the runner image.
    pub fn complete_image(&self, images: &ImageEnv) -> Result<Option<String>, CompleteError> {
        let Some(image) = &self.image else { return Ok(None) };
        let text = expanded(image, images)
            .map_err(|source| CompleteError::Image { image: image.source().to_owned(), source })?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        reference::parse(text)?;
        Ok(Some(text.to_owned()))
    }
}

/// The references of a comma list, each once.
pub(super) fn split_images(text: &str) -> Vec<String> {
    let mut references: Vec<String> = Vec::new();
    for reference in text.split(',').map(str::trim).filter(|reference| !reference.is_empty()) {
        if !references.iter().any(|known| known == reference) {
            references.push(reference.to_owned());
        }
    }
    references
}

fn expanded(template: &Template, images: &ImageEnv) -> Result<String, ExpandError> {
    Ok(template.expand(&|name| images.lookup(name).map(str::to_owned))?.text)
}
