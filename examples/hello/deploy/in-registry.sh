#!/usr/bin/env bash
# in-registry.sh SERVICE...: asks the registry for the services' images by their digests, with this job's own token.
set -euo pipefail

registry=$OKTETO_REGISTRY_URL
case $registry in
  localhost:* | 127.*) scheme=http ;;
  *) scheme=https ;;
esac

# Credentials go through standard input (`-K -`): arguments can be read by every process.
for service; do
  name=${service^^} && name=OKTETO_BUILD_${name//-/_}
  repository=${name}_REPOSITORY image=${name}_IMAGE
  repository=${!repository} digest=${!image##*@}

  scope=repository:$repository:pull
  token=$(printf 'user = "token:%s"\n' "$OKTETO_TOKEN" |
    curl -fsS -K - "$OKTETO_CONTEXT/token?service=slipway-registry&scope=$scope" |
    sed 's/.*"token":"\([^"]*\)".*/\1/')

  status=$(printf 'header = "Authorization: Bearer %s"\n' "$token" |
    curl -sS -K - -o /dev/null -w '%{http_code}' -I \
      -H 'Accept: application/vnd.oci.image.index.v1+json' \
      -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
      -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' \
      "$scheme://$registry/v2/$repository/manifests/$digest")
  echo "$service: HEAD /v2/$repository/manifests/${digest:0:19}…: $status"
  [[ $status == 200 ]]
done
