#!/bin/bash
# Pull the PyPA images that docker/pypa-images.toml pins, by digest, and make images for builds of them.
#
#   docker/pull-images.sh [FILE]     prints which images the engine holds then, as docker/build-images.sh does
#
# `buildfarm image add` puts them to use. What was pulled and made before is kept.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
file=${1:-$here/pypa-images.toml}
DOCKER_HOST=$("$here/engine.sh" status) || exit 2
export DOCKER_HOST

pins=$(python3 - "$file" <<'PYTHON'
import platform, re, sys, tomllib

with open(sys.argv[1], "rb") as file:
    images = tomllib.load(file).get("image", [])
for image in images:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", image["digest"]):
        sys.exit(f"pull: {image['name']}: the digest must be sha256: and 64 hexadecimal digits")
    if image["arch"] == platform.machine():
        print(f"{image['policy']} {image['name']}@{image['digest']}")
PYTHON
)
while read -r policy reference; do
    [[ $policy ]] || { echo "pull: $file pins no image for $(uname -m)" >&2; continue; }
    docker image inspect "$reference" >/dev/null 2>&1 || docker pull --quiet "$reference" >&2
    "$here/adopt-image.sh" "$reference" "$policy" >&2
done <<<"$pins"
"$here/list-images.sh"
