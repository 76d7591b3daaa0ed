#!/bin/bash
# Say which images for builds the engine holds: a JSON list, whoever made them.
#
#   docker/list-images.sh
set -euo pipefail

docker image ls --quiet --no-trunc --filter label=org.buildfarm.recipe |
    sort -u | xargs --no-run-if-empty docker image inspect | python3 -c '
import json, sys

rows = []
for image in json.loads(sys.stdin.read() or "[]"):
    label = {key.removeprefix("org.buildfarm."): value for key, value in image["Config"]["Labels"].items()}
    if "derived" in label:
        continue
    libc = "manylinux_" + label["glibc"] if "glibc" in label else "musllinux_" + label["musl"]
    rows.append({
        "platform": label.get("target") or libc.replace(".", "_") + "_" + label["arch"],
        "suite": label["suite"],
        "role": label["role"],
        "image_id": image["Id"],
        "interpreters": label["interpreters"].split(),
        "toolchain": label.get("toolchain"),
    })
rows.sort(key=lambda row: (row["suite"], row["role"]))
print(json.dumps(rows, indent=2))
'
