//! `build --metadata-file`: what `docker buildx build` writes there, by service.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use crate::follow::Made;

/// The file's text.
pub(crate) fn text(images: &[Made]) -> Result<String> {
    let services: BTreeMap<&str, Value> = images.iter().map(|made| (made.service.as_str(), metadata(made))).collect();
    let mut text = serde_json::to_string_pretty(&services)?;
    text.push('\n');
    Ok(text)
}

fn metadata(made: &Made) -> Value {
    let mut metadata = json!({"containerimage.digest": made.digest, "image.name": made.names.join(",")});
    if let Some(digest) = &made.config_digest {
        metadata["containerimage.config.digest"] = json!(digest);
    }
    if let (Some(kind), Some(size)) = (&made.media_type, made.size) {
        metadata["containerimage.descriptor"] = json!({"mediaType": kind, "digest": made.digest, "size": size});
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        let built = Made {
            service: "web".to_owned(),
            image: "reg:1/dev/web@sha256:1".to_owned(),
            digest: "sha256:1".to_owned(),
            names: vec!["reg:1/dev/web:1".to_owned(), "reg:1/dev/web:2".to_owned()],
            config_digest: Some("sha256:2".to_owned()),
            media_type: Some("application/vnd.oci.image.manifest.v1+json".to_owned()),
            size: Some(480),
        };
        let found =
            Made { service: "api".to_owned(), config_digest: None, media_type: None, size: None, ..built.clone() };
        insta::assert_snapshot!(text(&[built, found]).unwrap(), @r#"
        {
          "api": {
            "containerimage.digest": "sha256:1",
            "image.name": "reg:1/dev/web:1,reg:1/dev/web:2"
          },
          "web": {
            "containerimage.config.digest": "sha256:2",
            "containerimage.descriptor": {
              "digest": "sha256:1",
              "mediaType": "application/vnd.oci.image.manifest.v1+json",
              "size": 480
            },
            "containerimage.digest": "sha256:1",
            "image.name": "reg:1/dev/web:1,reg:1/dev/web:2"
          }
        }
        "#);
    }
}
