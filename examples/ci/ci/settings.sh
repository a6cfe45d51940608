# Read by the other scripts: variables, names and messages. It must be sourced in the repository's top folder.
set -eu

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Stop with a remedy unless the variable $1 has a value.
require_variable() {
    eval "value=\${$1:-}"
    [ -n "$value" ] || fail "the variable $1 is not set: $2"
}

# Stop with a remedy unless all the programs are on PATH.
require_programs() {
    for program in "$@"; do
        command -v "$program" >/dev/null || fail "there is no program $program on PATH: install the package that has it"
    done
}

# Run skopeo; SKOPEO_OPTIONS has further options for it, such as --registries-conf FILE.
run_skopeo() {
    # shellcheck disable=SC2086  # it is a list of words
    skopeo ${SKOPEO_OPTIONS:-} "$@"
}

# End well if `ci/build` found that this image has been tested and signed before.
end_if_released() {
    if [ -e out/released ]; then
        echo "$(basename "$0"): nothing to do, $(cat out/released) was tested and signed before"
        exit 0
    fi
}

[ -e Dockerfile ] && [ -e ci/settings.sh ] || fail "it must be started in the top folder of the repository, as ci/$(basename "$0")"
mkdir -p out

: "${SIGNING_PUBLIC_KEY:=signing.pub}" # the key that the repository has
export SIGNING_PUBLIC_KEY
INPUTS="Dockerfile base-digest autopilot.json5 requirements.txt wheels"
LOCAL_IMAGE="localhost/worker-node:pipeline"
