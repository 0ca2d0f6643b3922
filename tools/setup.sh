#!/bin/sh
# Install the packages that Easel is built and tested with, if they are missing.
# Usage: tools/setup.sh [--check] GROUP...
#   build  compiler, Meson, libraries
#   test   the test library, clang for the sanitizers and fuzz targets, a browser for the playground
#   --check: only say what is missing
set -eu

build_packages="gcc libc6-dev make meson ninja-build pkg-config libpng-dev libjpeg62-turbo-dev
libwebp-dev liblcms2-dev libjansson-dev libpcre2-dev libutf8proc-dev
libmicrohttpd-dev libsqlite3-dev libcurl4-openssl-dev libssl-dev"
test_packages="libcmocka-dev clang libclang-rt-dev python3 python3-venv curl chromium"

check_only=no
wanted=
for argument; do
    case $argument in
    --check) check_only=yes ;;
    build) wanted="$wanted $build_packages" ;;
    test) wanted="$wanted $test_packages" ;;
    *) echo "setup: unknown group $argument" >&2; exit 2 ;;
    esac
done

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "setup: this is not a Debian system; install yourself what is missing of:" >&2
    echo "  $wanted" | tr '\n' ' ' >&2
    echo >&2
    exit 0
fi

missing=
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ $check_only = yes ]; then
    echo "Easel needs these packages first:$missing" >&2
    echo "Install them with: tools/setup.sh build   (make demo does so itself)" >&2
    exit 1
fi

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "setup: these packages are missing, and installing them takes root:$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
echo "Installing what Easel is built with:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { $as_root apt-get update -q && $as_root apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "setup: apt-get failed; its last lines are above" >&2
    exit 1
fi
