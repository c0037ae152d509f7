#!/bin/sh
# The install steps of the images: every Dockerfile runs them, and images/prove.py in a clean place.
#   images/install.sh dependencies SERVICE VENV    what the service needs, at the versions of constraints.txt
#   images/install.sh service SERVICE VENV         the service itself, and the list of what is inside
# PYTHON makes the venv; TORCH_INDEX is where pip finds torch (empty: where it finds all else).
set -eu
step=$1 service=$2 venv=$3
cd "$(dirname "$0")/.."
pip="$venv/bin/python -m pip --disable-pip-version-check"

dependencies() {
  "${PYTHON:-python3}" -m venv "$venv"
  $pip install -q --upgrade -c constraints.txt pip
  "$venv/bin/python" images/requirements.py "$service" > "$venv/requirements.txt"
  if grep -q '^torch' "$venv/requirements.txt"; then
    $pip install -q ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"
  fi
  $pip install -q -c constraints.txt -r "$venv/requirements.txt"
}

service() {
  # Who renders and trains needs the kernel, and with it a compiler; who does not, neither.
  kernel=--config-settings=wheel.cmake=false
  if grep -q '^torch' "$venv/requirements.txt"; then kernel=; fi
  $pip install -q --no-deps --build-constraint constraints.txt $kernel .
  case $service in
    preprocess | trainer) "$venv/bin/python" -m synctalk.face.models ;;
  esac
  # Nothing is installed any more.
  if [ -n "$kernel" ]; then $pip uninstall -q -y setuptools pip; else $pip uninstall -q -y pip; fi
  # Some packages hold files for a newer Python, which this one cannot compile and will not import.
  "$venv/bin/python" -m compileall -qq "$venv/lib" || true
  "$venv/bin/python" images/sbom.py "$service" > "$venv/sbom.cdx.json"
}

"$step"
