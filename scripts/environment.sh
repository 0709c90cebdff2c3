# Makes and reuses .venv in the repository. Sourced by scripts/test, scripts/demo and .ci/run; POSIX sh.
# Needs $root. Afterwards $bin is the folder of the environment's programs.

bin=$root/.venv/bin

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

find_python() {
    for python in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            return 0
        fi
    done
    found=$(python3 --version 2>&1) || found="no python3"
    fail "Oddwatch needs Python 3.11 or newer; found $found."
}

make_venv() {
    if [ -x "$bin/python" ] && "$bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        return 0
    fi
    find_python
    printf 'Making the environment %s\n' "$root/.venv" >&2
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv --clear "$root/.venv" || fail "$python -m venv $root/.venv failed."
    elif command -v uv >/dev/null 2>&1; then
        uv venv --quiet --seed --python "$python" "$root/.venv" || fail "uv venv $root/.venv failed."
    else
        fail "$python cannot make environments: install its venv module (Debian, Ubuntu: apt install python3-venv)."
    fi
}

pip_install() {
    # uv knows nothing of pip's own settings (mirrors, wheel folders), so pip has the last word.
    if command -v uv >/dev/null 2>&1 && uv pip install --quiet --python "$bin/python" "$@" 2>/dev/null; then
        return 0
    fi
    "$bin/python" -m pip install -qq --disable-pip-version-check --no-input "$@"
}

# environment EXTRAS: .venv with Oddwatch (editable) and the extras, comma-separated, or none.
environment() {
    make_venv
    stamp=$root/.venv/oddwatch.stamp
    sum=$(cksum <"$root/pyproject.toml")
    case $(cat "$stamp" 2>/dev/null) in
        "$sum $1" | "$sum $1,"*) return 0 ;;
        "$sum "*) [ -z "$1" ] && return 0 ;;
    esac
    printf 'Installing Oddwatch%s\n' "${1:+ with $1}" >&2
    pip_install -e "$root${1:+[$1]}" || fail "Installing Oddwatch failed; the lines above say why."
    printf '%s %s\n' "$sum" "$1" >"$stamp"
}
