#!/usr/bin/env bash
# Runs every test, the ignored ones included, against real servers, after installing what is missing.
# Arguments go to the test programs: `tests/all.sh consul` runs the tests with that in their name.
#
# Nothing is skipped: a server or tool that cannot be had ends the run with an error. Nothing is left
# running: the tests start and stop their own servers on ports of the kernel's choice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
docker_job=
policy=

cleanup() {
    forget_policy
    if [[ -e $scratch/docker.pid ]]; then
        as_root kill "$(<"$scratch/docker.pid")" || true
        wait "$docker_job" || true # until it has unmounted what lies in $scratch
    fi
    as_root rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

heading() { printf '\n== %s\n' "$*"; }

die() {
    printf 'tests/all.sh: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

# Debian starts a service as it installs it, unless policy-rc.d forbids: the tests want the programs only.
install_packages() {
    local status=0 package
    local missing=()
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || sudo -n true || die "missing: ${missing[*]}; install them, or run as root or with sudo"

    echo "installing ${missing[*]}"
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$scratch/policy-rc.d"
        policy=/usr/sbin/policy-rc.d
        as_root install -m 755 "$scratch/policy-rc.d" "$policy"
    fi
    apt_install "${missing[@]}" || { as_root apt-get update -q && apt_install "${missing[@]}"; } || status=$?
    forget_policy
    ((status == 0)) || die "cannot install ${missing[*]}"
}

forget_policy() {
    [[ -z $policy ]] || as_root rm -f "$policy"
    policy=
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

# Consul left Debian after bullseye. Its package is unpacked from there into a cache, through an apt state of
# its own, so that this machine never mixes two releases.
fetch_consul() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/layer-cake
    CONSUL_BIN=$cache/consul/usr/bin/consul
    [[ ! -x $CONSUL_BIN ]] || return 0

    local mirror apt=$scratch/apt
    # shellcheck disable=SC2016 # apt expands $(SITE)
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' 'Label: Debian' | sed -n 1p)
    [[ -n $mirror ]] || die "apt knows no Debian mirror to get consul from"
    mkdir -p "$cache" "$apt"/{lists,archives}/partial
    : >"$apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bullseye main" >"$apt/sources.list"
    cat >"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
APT::Sandbox::User ""; // _apt may not enter a private directory
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
CONF
    (
        export APT_CONFIG=$apt/apt.conf
        apt-get update -q
        cd "$apt"
        apt-get download -q consul
        dpkg -x consul_*.deb unpacked
    ) || die "cannot get consul from $mirror"
    rm -rf "$cache/consul"
    mv "$apt/unpacked" "$cache/consul"
}

# The parsers of the project that others scrape with, from PyPI, in a place of their own.
fetch_prometheus() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/layer-cake/prometheus
    PROMETHEUS_PYTHON=$cache/bin/python3
    export PROMETHEUS_PYTHON
    [[ -x $PROMETHEUS_PYTHON ]] && "$PROMETHEUS_PYTHON" -c 'import prometheus_client' 2>/dev/null && return 0
    install_packages python3-venv
    rm -rf "$cache"
    python3 -m venv "$cache"
    "$PROMETHEUS_PYTHON" -m pip install --quiet prometheus-client || die "cannot get prometheus-client from PyPI"
}

start_docker() {
    docker info >/dev/null 2>&1 && return 0
    install_packages docker.io iptables
    DOCKER_HOST=unix://$scratch/docker.sock
    export DOCKER_HOST
    echo '{}' >"$scratch/docker.json"
    as_root dockerd --config-file "$scratch/docker.json" --host "$DOCKER_HOST" --group "$(id -g)" --data-root "$scratch/docker" \
        --exec-root "$scratch/docker-run" --pidfile "$scratch/docker.pid" >"$scratch/docker.log" 2>&1 &
    docker_job=$!
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        docker info >/dev/null 2>&1 && return 0
        kill -0 "$docker_job" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$scratch/docker.log" >&2
    die "no Docker engine answers, and none could be started"
}

# The static disco that ships: the tests with containers put it into images without a libc.
build_dist() {
    local target
    target=$(uname -m)-unknown-linux-musl
    local build=(cargo build --profile dist --no-default-features --bin disco --target)
    if rustup target add "$target"; then
        "${build[@]}" "$target"
    else
        echo "no target $target here: a static build against glibc instead"
        target=$(uname -m)-unknown-linux-gnu
        RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" "${build[@]}" "$target"
    fi
    DISCO_DIST=$(cargo metadata --format-version 1 --no-deps | sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
    DISCO_DIST+=/$target/dist/disco
    export DISCO_DIST
}

# What README calls `embed-disco`: a cake that needs nothing beside it.
try_embedded() {
    local target_dir alone=$scratch/alone
    target_dir=$(cargo metadata --format-version 1 --no-deps | sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
    cargo build --features embed-disco --bin cake
    mkdir -p "$alone"
    cp "$target_dir/debug/cake" "$alone"
    printf 'FROM scratch\nENTRYPOINT ["/app"]\n' >"$alone/Dockerfile"
    (cd "$alone" && env -i PATH=/nonexistent HOME="$alone" ./cake build --no-build --in-place)
    cmp "$alone/.cake/disco" "$DISCO_DIST" || die "the disco inside cake is not the one that ships"
}

heading "Servers and peers"
install_packages etcd-server redis-server tini dumb-init catatonit hyperfine busybox-static git
# For these the shipped layers write.
install_packages nginx haproxy msmtp mariadb-client-core
: "${CONSUL_BIN:=$(command -v consul || true)}"
[[ -n $CONSUL_BIN ]] || fetch_consul
export CONSUL_BIN
fetch_prometheus
start_docker
"$CONSUL_BIN" version | sed -n 1p
etcd --version | sed -n 1p
redis-server --version
docker version --format 'Docker {{.Server.Version}}'

heading "The disco that ships"
build_dist
echo "$DISCO_DIST: $(stat -c %s "$DISCO_DIST") bytes"

heading "A cake that carries it"
try_embedded

# What a killed test leaves goes with the rest. Some tests run programs as another user, who has to get there.
chmod 755 "$scratch"
mkdir "$scratch/tmp"
export TMPDIR=$scratch/tmp

# Some tests become somebody else, which only root can.
if ((EUID != 0)); then
    host=$(rustc -vV | sed -n 's/^host: //p')
    host=${host^^}
    export "CARGO_TARGET_${host//-/_}_RUNNER=sudo -n --preserve-env env PATH=$PATH"
fi

heading "Tests of the library without cake"
cargo test --no-default-features --lib -- --include-ignored "$@"

heading "All tests"
cargo test --no-fail-fast -- --include-ignored "$@"

# The same again with musl, static linking and the optimiser in between.
heading "Integration tests of the disco that ships"
# Those of cake have put this disco into their images already.
DISCO_BIN=$DISCO_DIST cargo test --no-fail-fast --test it -- --include-ignored \
    --skip bake:: --skip cake:: --skip examples:: --skip layers:: "$@"
