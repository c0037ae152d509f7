#!/bin/sh
# Everything that must be seen on a CUDA machine, in one command of under ten minutes and without a
# network: builds gsplat, checks parity with the CPU kernel and the torch reference, trains, renders,
# measures frame rates and sessions, and writes one JSON (written anew after every stage).
#
#   benchmarks/gpu.sh --dataset DIR [--wheels DIR] [--avatar DIR] [--out FILE]
#                     [--train-seconds 120] [--device cuda|cpu] [--quick]
#
# --wheels DIR   wheels to install beside the interpreter's own packages, and our kernel built for it;
#                benchmarks/gpu_wheels.md says what to lay there. Without it the packages must be there.
# PYTHON         the interpreter whose torch (2.11 or later) sees the GPU; default python3.
# GPU_WORK       folder for packages, gsplat's build and what is trained; default out/gpu.
#
# --device cpu --quick is a dry run: it goes through every line but the CUDA ones.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
work=${GPU_WORK:-$root/out/gpu}
mkdir -p "$work"
work=$(cd "$work" && pwd)

wheels=
n=$#
while [ "$n" -gt 0 ]; do
  case $1 in
    --wheels) wheels=$2; shift 2; n=$((n - 2)) ;;
    *) set -- "$@" "$1"; shift; n=$((n - 1)) ;;
  esac
done

if [ -n "$wheels" ]; then
  site=$work/site
  install="$python -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade"
  $install --target "$site" "$wheels"/*.whl
  export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" PATH="$site/bin:$PATH"
  $install --no-build-isolation --target "$site" "$root"
  if [ -d "$wheels/models" ]; then
    SYNCTALK_MODELS=$(cd "$wheels/models" && pwd)
    export SYNCTALK_MODELS
  fi
fi

# gsplat is compiled for this machine's GPU alone: all architectures would take half an hour
arch=$("$python" -c 'import torch
print("%d.%d" % torch.cuda.get_device_capability() if torch.cuda.is_available() else "")')
if [ -n "$arch" ]; then
  export TORCH_CUDA_ARCH_LIST="$arch"
fi
MAX_JOBS=$(nproc)
export MAX_JOBS TORCH_EXTENSIONS_DIR="$work/extensions" PYTHONUNBUFFERED=1
exec "$python" "$root/benchmarks/gpu.py" --work "$work" "$@"
