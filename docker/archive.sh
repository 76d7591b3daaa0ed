# Where Debian packages come from: what this host's own apt uses. Sourced; needs `say` and `fail`.
# shellcheck shell=bash

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The URIs of this host's Debian archive and its security archive, from apt itself.
mirror_of() {
    local kind=$1 origin
    for origin in Debian ''; do
        apt-get indextargets --format '$(ORIGIN)|$(RELEASE)|$(REPO_URI)' 2>/dev/null |
            awk -F'|' -v origin="$origin" -v kind="$kind" '
                $1 != origin { next }
                kind == "security" && $2 !~ /-security$/ { next }
                kind == "main" && $2 !~ /^(stable|oldstable|testing|bullseye|bookworm|trixie|forky|sid)$/ { next }
                { print $3; exit }'
    done | head -n1
}

# Lines for apt: the archive of suite $1, its updates and, where this host knows them, its security updates.
sources() {
    local suite=$1 main security
    main=${BUILDFARM_DEBIAN_MIRROR:-$(mirror_of main)}
    [[ $main ]] || fail "this host's apt knows no Debian archive; name one in BUILDFARM_DEBIAN_MIRROR"
    echo "deb [signed-by=$keyring] $main $suite main"
    echo "deb [signed-by=$keyring] $main $suite-updates main"
    security=${BUILDFARM_DEBIAN_SECURITY_MIRROR-$(mirror_of security)}
    if [[ $security ]]; then
        echo "deb [signed-by=$keyring] $security $suite-security main"
    else
        say "no security archive is known: images come without its updates"
    fi
}

# The line for apt that gives the source packages of suite $1. Debian's testing moves on and takes its sources along;
# Ubuntu's releases stay, where BUILDFARM_UBUNTU_MIRROR names its archive. Its keyring is the package ubuntu-keyring,
# or the file BUILDFARM_UBUNTU_KEYRING. Says why where there is no line.
source_line() {
    local suite=$1 main key=$keyring
    if [[ $suite == noble || $suite == resolute ]]; then
        main=${BUILDFARM_UBUNTU_MIRROR:-}
        [[ $main ]] || { echo "E: BUILDFARM_UBUNTU_MIRROR names no archive" >&2; return 1; }
        key=${BUILDFARM_UBUNTU_KEYRING:-/usr/share/keyrings/ubuntu-archive-keyring.gpg}
    else
        main=${BUILDFARM_DEBIAN_MIRROR:-$(mirror_of main)}
        [[ $main ]] || { echo "E: this host's apt knows no Debian archive; BUILDFARM_DEBIAN_MIRROR names none" >&2; return 1; }
    fi
    echo "deb-src [signed-by=$key] $main $suite main"
}
