#!/bin/bash
# Pull the PyPA images that docker/pypa-images.toml pins, by digest, and say their image IDs.
#
#   docker/pull-images.sh [FILE]     one line "POLICY_ARCH IMAGE_ID" for each
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
        print(f"{image['policy']}_{image['arch']} {image['name']}@{image['digest']}")
PYTHON
)
[[ $pins ]] || { echo "pull: $file pins no image for $(uname -m)" >&2; exit 0; }
while read -r platform reference; do
    docker pull --quiet "$reference" >&2
    echo "$platform $(docker image inspect --format '{{.Id}}' "$reference")"
done <<<"$pins"
