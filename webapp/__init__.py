"""The Flask shell: hooks, API, job API, index, dashboard. Thin: it calls `buildfarm` and shows the answer."""
