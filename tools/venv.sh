#!/bin/sh
# Make the virtual environment and install what is pinned: venv.sh PYTHON DIRECTORY
set -eu
python=$1 venv=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Ebbtide needs Python 3.11 or newer; $python is $("$python" --version 2>&1). Try: make PYTHON=python3.11" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv
    else
        echo "Python's venv module is missing; install it with: sudo apt-get install python3-venv" >&2
        exit 1
    fi
fi
echo "making the virtual environment in $venv (once, a minute)"
"$python" -m venv "$venv"
pip="$venv/bin/pip --disable-pip-version-check"
# uv does in seconds what takes pip a minute; it does not read pip's configuration, so where it gets nowhere pip goes on.
$pip install --quiet uv==0.13.9 &&
    "$venv/bin/uv" pip install --quiet --native-tls --python "$venv/bin/python" -r requirements-dev.txt ||
    $pip install --quiet --no-compile -r requirements-dev.txt
# By all processors; what is big and seldom imported is compiled when it is.
"$venv/bin/python" -m compileall -q -j 0 -x '/(sympy|networkx|mypy|pip|setuptools|pygments|awscli)/' "$venv/lib"
