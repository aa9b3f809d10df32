#!/bin/sh
# Tests and figures on a GPU: benchmarks/gpu.sh; anywhere: benchmarks/gpu.sh --device cpu --tiny
# Results go to the folder $OUT, by default benchmarks/gpu; PYTHON names the interpreter.
cd "$(dirname "$0")/.." || exit 1
PYTHONPATH=".:integrations:benchmarks:examples${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" benchmarks/gpu.py --out "${OUT:-benchmarks/gpu}" "$@"
