#!/bin/bash
# Make the images of every suite that the engine lacks, and say what there is.
#
#   docker/build-images.sh [--out FILE]      a JSON list, to standard output or FILE
#
# bookworm must succeed; a suite this host cannot make (keys, mirror) is named and left out.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
[[ ${1:-} == --out ]] && exec >"${2:?--out FILE}"

DOCKER_HOST=$("$here/engine.sh" status) || exit 2
export DOCKER_HOST

pids=()
suites=()
for conf in "$here"/suites/*.conf; do
    suite=$(basename "$conf" .conf)
    [[ $suite == packages ]] && continue
    "$here/build-image.sh" "$suite" >&2 &
    pids+=($!)
    suites+=("$suite")
done
status=0
for i in "${!pids[@]}"; do
    wait "${pids[$i]}" && continue
    echo "image: ${suites[$i]} could not be made; the farm goes on without its interpreter" >&2
    [[ ${suites[$i]} == bookworm ]] && status=1
done

# Images with system packages are made again from the base that builds use now.
bases=$(docker image ls --quiet --no-trunc --filter label=org.buildfarm.recipe --filter dangling=false)
for image in $(docker image ls --quiet --no-trunc --filter label=org.buildfarm.derived | sort -u); do
    base=$(docker image inspect --format '{{index .Config.Labels "org.buildfarm.base"}}' "$image")
    [[ $bases == *"$base"* ]] || docker image rm "$image" >/dev/null
done
# What a renewed image replaced: untagged, ours by label, and no container uses it.
docker image prune --force --filter label=org.buildfarm.recipe >/dev/null

docker image ls --quiet --no-trunc --filter label=org.buildfarm.recipe |
    sort -u | xargs --no-run-if-empty docker image inspect | python3 -c '
import json, sys

rows = []
for image in json.loads(sys.stdin.read() or "[]"):
    label = {key.removeprefix("org.buildfarm."): value for key, value in image["Config"]["Labels"].items()}
    if "derived" in label:
        continue
    rows.append({
        "platform": "manylinux_" + label["glibc"].replace(".", "_") + "_" + label["arch"],
        "suite": label["suite"],
        "role": label["role"],
        "image_id": image["Id"],
        "interpreters": label["interpreters"].split(),
        "glibc": label["glibc"],
    })
rows.sort(key=lambda row: (row["suite"], row["role"]))
print(json.dumps(rows, indent=2))
'
exit "$status"
