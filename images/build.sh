#!/bin/sh
# Build every image (or those that are named), try each one's Python on its entry point, and take its list
# of parts out. Needs docker, podman or buildah.
#   images/build.sh [SERVICE ...]
# IMAGE_REGISTRY and IMAGE_TAG name them: REGISTRY/avatar-SERVICE:TAG. ENGINE chooses the program;
# BUILD_ARGS is handed on, such as "--build-arg CUDA=12.8.1".
set -eu
cd "$(dirname "$0")/.."
services=${*:-gateway dubbing preprocess expression trainer renderer}
registry=${IMAGE_REGISTRY:-registry.example.com/avatar}
tag=${IMAGE_TAG:-$(sed -n 's/^appVersion: "\(.*\)"/\1/p' helm/avatar/Chart.yaml)}
engine=${ENGINE:-}
for each in docker podman buildah; do
  if [ -z "$engine" ] && command -v "$each" > /dev/null && "$each" info > /dev/null 2>&1; then
    engine=$each
  fi
done
if [ -z "$engine" ]; then
  echo "No docker, podman or buildah that answers. What the Dockerfiles install can be tried without one:"
  echo "  .venv/bin/python images/prove.py gateway"
  exit 1
fi

# runs the image's python
run() {
  image=$1
  shift
  if [ "$engine" = buildah ]; then
    container=$(buildah from "$image")
    buildah run "$container" -- /opt/venv/bin/python "$@"
    buildah rm "$container" > /dev/null
  else
    "$engine" run --rm --read-only --tmpfs /tmp --cap-drop ALL --entrypoint /opt/venv/bin/python "$image" "$@"
  fi
}

mkdir -p out/images
for service in $services; do
  image=$registry/avatar-$service:$tag
  # shellcheck disable=SC2086
  "$engine" build ${BUILD_ARGS:-} -f "services/$service/Dockerfile" -t "$image" .
  run "$image" -c "import services.$service.main; print('$service: its entry point can be imported')"
  run "$image" -c "print(open('/opt/venv/sbom.cdx.json').read())" > "out/images/$service.cdx.json"
  echo "$image, its parts in out/images/$service.cdx.json"
done
