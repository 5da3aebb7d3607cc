#!/usr/bin/env bash
# Brings what geo_assets needs on this machine: .venv, PostgreSQL with PostGIS and, with --with-page, Node.js and the map's
# packages; with --with-azurite also a C compiler, Azurite, Chromium, Redis and other readers of STAC for the tests; with
# --with-bench also what the benchmarks compare with. With --with-docs it brings what builds the documentation, and no
# PostgreSQL. Idempotent, and quick where all is there.
# Prints a line a step; all output of the tools goes to the log, which is shown on failure.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
# Extras of pyproject.toml, each with all of the one above it.
EXTRAS=dev
EXTRAS_DOCS=dev,docs
EXTRAS_TEST=dev,docs,peers,readers
EXTRAS_BENCH=dev,docs,peers,readers,bench
LOG=.geo_assets/logs/setup.log
mkdir -p "$(dirname "$LOG")"
: > "$LOG"

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# step TEXT COMMAND...: one line on the terminal, the command's output in the log.
step() {
    local text=$1 began=$SECONDS
    shift
    printf 'setup: %s ... ' "$text"
    if ( "$@" ) < /dev/null >> "$LOG" 2>&1; then
        printf 'done (%s s)\n' $((SECONDS - began))
    else
        printf 'failed\n\n'
        tail -n 25 "$LOG" >&2
        fail "could not get past: $text (all output: $LOG)"
    fi
}

digest() { cat "$@" | cksum | tr ' ' -; }

# --- the system's package manager

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
        sudo -n "$@"
    else
        echo "This needs root. Run it yourself, then again what you ran:  sudo $*"
        return 1
    fi
}

manager() {
    local name
    for name in apt-get dnf brew; do
        if command -v "$name" > /dev/null; then
            echo "$name"
            return
        fi
    done
}

# A fresh machine has no package lists, an old one stale ones: look again before installing.
apt_update() { as_root apt-get update -q; }

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# --- Python

find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3; do
        if command -v "$name" > /dev/null &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

install_python() {
    case "$(manager)" in
        apt-get) apt_update && apt_install python3 python3-venv ;;
        dnf) as_root dnf install -y python3.12 ;;
        brew) brew install python@3.12 ;;
        *) return 1 ;;
    esac
}

# Debian ships Python without ensurepip, which venv needs.
install_ensurepip() {
    local package=python3-venv
    [ "$PYTHON" = /usr/bin/python3 ] || package="$(basename "$PYTHON")-venv"
    if [ "$(manager)" = apt-get ]; then
        apt_update && apt_install "$package"
    else
        echo "$PYTHON has no module ensurepip: install the package that holds it ($package)."
        return 1
    fi
}

make_venv() {
    rm -rf "$VENV"
    "$PYTHON" -m venv "$VENV"
}

install_packages() { "$VENV/bin/python" -m pip install --disable-pip-version-check -e ".[$EXTRAS]" -c constraints.txt; }

setup_venv() {
    if ! "$VENV/bin/python" -c 'import pip' 2> /dev/null; then
        PYTHON=$(find_python) || step "installing Python" install_python
        PYTHON=$(find_python) ||
            fail "Python 3.11 or newer is needed; here is $(python3 --version 2> /dev/null || echo none). Install one (python3.11, python3.12 ...)."
        "$PYTHON" -c 'import ensurepip' 2> /dev/null || step "installing Python's venv module" install_ensurepip
        step "making .venv with $("$PYTHON" --version)" make_venv
    fi
}

# The folder is in it too: an editable install names it, and a checkout may be moved.
packages_wanted() { echo "$(digest pyproject.toml constraints.txt) $PWD $1"; }

# Who has the packages of the benchmarks, or of the tests, has those of what needs fewer too.
has_packages() {
    local stamp extras enough=
    stamp=$(cat "$VENV/.setup-stamp" 2> /dev/null) || return 1
    for extras in dev "$EXTRAS_DOCS" "$EXTRAS_TEST" "$EXTRAS_BENCH"; do # from few to many
        [ "$extras" != "$EXTRAS" ] || enough=yes
        [ -z "$enough" ] || [ "$stamp" != "$(packages_wanted "$extras")" ] || return 0
    done
    return 1
}

# --- PostgreSQL

# Needs no package yet, so that PostgreSQL can be installed beside them.
has_postgres() {
    "$VENV/bin/python" -c 'from geo_assets.postgres.programs import find_postgres; find_postgres()' >> "$LOG" 2>&1
}

newest_postgis() {
    apt-cache search --names-only '^postgresql-[0-9]+-postgis-3$' | cut -d' ' -f1 | sort -V | tail -n 1
}

install_postgres() {
    case "$(manager)" in
        apt-get) apt_update && apt_postgres ;;
        dnf) as_root dnf install -y postgresql-server postgresql-contrib postgis ;;
        brew) brew install postgresql@17 postgis ;;
        *)
            echo "Install PostgreSQL with PostGIS (Debian: postgresql-15-postgis-3), or set GEO_ASSETS_DATABASE_URL."
            return 1
            ;;
    esac
}

# Debian's package makes a cluster `main` and starts it. We have our own, and leave none behind.
apt_postgres() {
    local package folder=/etc/postgresql-common/createcluster.d status=0
    package=$(newest_postgis)
    [ -n "$package" ] || { echo "apt has no postgresql-NN-postgis-3."; return 1; }
    as_root mkdir -p "$folder"
    as_root sh -c "echo 'create_main_cluster = off' > $folder/geo_assets.conf"
    apt_install "$package" || status=$?
    as_root rm -f "$folder/geo_assets.conf"
    return $status
}

# PostgreSQL comes while pip works: each waits for the network most of the time.
install_packages_and_postgres() {
    local status=0
    install_postgres &
    install_packages || status=$?
    wait $! && return $status
}

setup_packages_and_postgres() {
    if has_packages; then
        "$1" || step "installing PostgreSQL with PostGIS" install_postgres
    elif "$1"; then
        step "installing the Python packages (1 to 3 minutes)" install_packages
        packages_wanted "$EXTRAS" > "$VENV/.setup-stamp"
    else
        step "installing the Python packages and PostgreSQL with PostGIS (1 to 3 minutes)" install_packages_and_postgres
        packages_wanted "$EXTRAS" > "$VENV/.setup-stamp"
    fi
    "$1" || fail "PostgreSQL with PostGIS, btree_gist and unaccent is still not found. Debian: apt-get install postgresql-15-postgis-3."
}

# --- a C compiler: python-qpid-proton, which the tests' Service Bus speaks by, comes as source

can_compile() {
    "$VENV/bin/python" - << 'EOF' >> "$LOG" 2>&1
import os, shlex, shutil, sys, sysconfig
compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
sys.exit(not (shutil.which(compiler) and os.path.exists(sysconfig.get_path("include") + "/Python.h")))
EOF
}

# The package with the system's Python's headers; another Python brings them itself.
headers_package() {
    "$VENV/bin/python" -c '
import sys
if sys.base_prefix == "/usr":
    print("python%d.%d-" % sys.version_info[:2] + sys.argv[1])' "$1"
}

install_compiler() {
    case "$(manager)" in
        apt-get) apt_update && apt_install gcc libc6-dev $(headers_package dev) ;;
        dnf) as_root dnf install -y gcc $(headers_package devel) ;;
        *)
            echo "Install a C compiler and Python's headers (macOS: xcode-select --install): tests need them."
            return 1
            ;;
    esac
}

setup_compiler() {
    has_packages || can_compile || step "installing a C compiler and Python's headers" install_compiler
}

# --- Azurite

install_node() {
    case "$(manager)" in
        apt-get) apt_update && apt_install nodejs npm ;;
        dnf) as_root dnf install -y nodejs npm ;;
        brew) brew install node ;;
        *)
            echo "Install Node.js with npm: the map is drawn with packages of it, and the tests run against Azurite."
            return 1
            ;;
    esac
}

install_npm_packages() { npm install --no-package-lock --no-audit --no-fund; }

setup_npm_packages() {
    local stamp=node_modules/.setup-stamp
    if ! command -v node > /dev/null || ! command -v npm > /dev/null; then
        step "installing Node.js" install_node
    fi
    if [ "$(cat "$stamp" 2> /dev/null)" != "$(digest package.json)" ] || [ ! -e node_modules/.bin/azurite-blob ]; then
        step "installing the packages of map, diagrams and Azurite" install_npm_packages
        digest package.json > "$stamp"
    fi
}

# --- a browser, in which the tests look at the map

install_browser() {
    case "$(manager)" in
        apt-get) apt_update && apt_install chromium ;;
        dnf) as_root dnf install -y chromium ;;
        brew) brew install --cask chromium ;;
        *)
            echo "Install Chromium: the tests look at the map in it."
            return 1
            ;;
    esac
}

setup_browser() { command -v chromium > /dev/null || step "installing Chromium" install_browser; }

# --- Redis

# Debian's redis-tools holds the server too, as redis-check-rdb; redis-server would add a service and start it.
has_redis() { command -v redis-server > /dev/null || command -v redis-check-rdb > /dev/null; }

install_redis() {
    case "$(manager)" in
        apt-get) apt_update && apt_install redis-tools ;;
        dnf) as_root dnf install -y redis || as_root dnf install -y valkey-compat-redis ;;
        brew) brew install redis ;;
        *)
            echo "Install Redis: the tests run Celery workers on it."
            return 1
            ;;
    esac
}

setup_redis() {
    has_redis || step "installing Redis" install_redis
    has_redis || fail "redis-server is still not found. Debian: apt-get install redis-tools."
}

# --- ogr2ogr, which the loading of vectors is measured against

install_gdal() {
    case "$(manager)" in
        apt-get) apt_update && apt_install gdal-bin ;;
        dnf) as_root dnf install -y gdal ;;
        brew) brew install gdal ;;
        *)
            echo "Install ogr2ogr (GDAL's programs): a benchmark compares with it."
            return 1
            ;;
    esac
}

setup_gdal() { command -v ogr2ogr > /dev/null || step "installing GDAL's programs" install_gdal; }

# --- stac-api-validator and Schemathesis, which want other versions than ours: a folder that only their tests put first

install_checkers() {
    rm -rf "$VENV/checkers"
    "$VENV/bin/python" -m pip install --disable-pip-version-check --no-deps --target "$VENV/checkers" \
        -r requirements-checkers.txt
}

setup_checkers() {
    local stamp="$VENV/checkers/.setup-stamp"
    if [ "$(cat "$stamp" 2> /dev/null)" != "$(digest requirements-checkers.txt)" ]; then
        step "installing stac-api-validator and Schemathesis" install_checkers
        digest requirements-checkers.txt > "$stamp"
    fi
}

needs_no_postgres() { [ -n "${GEO_ASSETS_DATABASE_URL:-}" ]; } # the user has a server

setup_venv
case "${1:-}" in
    --with-bench)
        EXTRAS=$EXTRAS_BENCH
        setup_compiler
        setup_packages_and_postgres has_postgres
        setup_npm_packages
        setup_gdal
        ;;
    --with-docs)
        EXTRAS=$EXTRAS_DOCS
        setup_packages_and_postgres true
        setup_npm_packages
        ;;
    --with-azurite)
        EXTRAS=$EXTRAS_TEST
        setup_compiler
        setup_packages_and_postgres has_postgres
        setup_npm_packages
        setup_browser
        setup_redis
        setup_checkers
        ;;
    *)
        if needs_no_postgres; then
            setup_packages_and_postgres needs_no_postgres
        else
            setup_packages_and_postgres has_postgres
        fi
        if [ "${1:-}" = --with-page ]; then
            setup_npm_packages
        fi
        ;;
esac
