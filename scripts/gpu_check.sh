#!/usr/bin/env bash
# Check and time this checkout on a machine with a GPU, torch and triton; no network needed.
#
#   bash scripts/gpu_check.sh [--quick] [--wheels DIR] [--out DIR] [--python PYTHON] [--tests SECONDS] [--dry-run]
#
#   --quick      correctness and a few timings, within about five minutes; without it, about a quarter of an hour
#   --wheels     folder of wheels for what the machine lacks, lark say (default: .whl in the checkout)
#   --out        where results are written (default: $OUT, or ./gpu_check_out)
#   --python     the Python that has torch and triton (default: $PYTHON, or python3)
#   --tests      seconds after which no further test is started, in each of the two runs of tests
#   --dry-run    the same road on the CPU, with a few small tests and timings: checks this script
#
# Everything is installed into a temporary folder; the checkout stays as it is. The tests marked `gpu` and those of the
# kernels run first, then benchmarks/networks.py. Results: a short table, and in the output folder gpu_check.json,
# tests.log, benchmark.log and a JUnit report for each run of the tests.
#
# Exit code: 0 all well, 1 a test failed or a network was wrong (it is timed all the same), 2 wrong usage or something
# is missing, 3 no GPU.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
out=${OUT:-./gpu_check_out}
wheels=""
quick=""
dry=""
tests_seconds=""

die() {
    echo "gpu_check: $2" >&2
    exit "$1"
}

while [ $# -gt 0 ]; do
    case $1 in
        --quick) quick=1 ;;
        --dry-run) dry=1 ;;
        --wheels | --out | --python | --tests)
            [ $# -ge 2 ] || die 2 "$1 needs a value"
            case $1 in
                --wheels) wheels=$2 ;;
                --out) out=$2 ;;
                --python) python=$2 ;;
                --tests) tests_seconds=$2 ;;
            esac
            shift
            ;;
        -h | --help)
            sed -n '2,/^set -/{/^#/!d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        *) die 2 "unknown option $1; --help lists them" ;;
    esac
    shift
done
if [ -n "$wheels" ]; then
    [ -d "$wheels" ] || die 2 "there is no folder $wheels"
elif [ -d "$root/.whl" ]; then
    wheels=$root/.whl
fi
[ -n "$tests_seconds" ] || tests_seconds=$([ -n "$quick" ] && echo 60 || echo 240)
command -v "$python" >/dev/null || die 2 "there is no $python"

# Neither a compiled file nor a cache is left in the checkout.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
site=$work/site
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
export TRITON_CACHE_DIR=$work/triton CNNDSL_CACHE=$work/cache HYPOTHESIS_STORAGE_DIRECTORY=$work/hypothesis
unset TRITON_INTERPRET
[ -n "$dry" ] && export CUDA_VISIBLE_DEVICES="" # also on a machine with a GPU

# --- is there a GPU? ---------------------------------------------------------------------------------------
support=$root/scripts/gpu_check_support.py
"$python" "$support" machine || die 2 "$python lacks torch or triton"
if [ -n "$dry" ]; then
    device=cpu
else
    device=cuda
    "$python" "$support" has-gpu || die 3 "torch finds no GPU here; --dry-run tries this script without one"
fi

# --- install into a temporary folder -----------------------------------------------------------------------
mkdir -p "$site" "$work/source" "$work/run"
cp -R "$root"/{cnndsl,kernels,grammars,pyproject.toml,README.md,LICENSE} "$work/source"
# The tests run beside no copy of the package, which would stand in for the installed one.
cp -R "$root"/{tests,examples,benchmarks,pyproject.toml} "$work/run"
export CNNDSL_COMMIT=${CNNDSL_COMMIT:-$("$python" "$support" commit "$root")}

if [ -n "$wheels" ]; then
    for wheel in "$wheels"/*.whl; do
        [ -e "$wheel" ] || die 2 "there are no wheels in $wheels"
        # A wheel of pure Python is a zip file of what has to lie on the path.
        "$python" -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$site" "$wheel" 2>/dev/null ||
            "$python" -m zipfile -e "$wheel" "$site"
    done
fi
install=(--quiet --no-index --no-deps --no-build-isolation --no-compile --upgrade --target "$site")
if "$python" -m pip install "${install[@]}" "$work/source" >"$work/pip.log" 2>&1; then
    echo "installed with pip"
else
    echo "installed by copying, as pip could not build it: $(tail -n 1 "$work/pip.log")"
    cp -R "$work/source/cnndsl" "$site"
    cp -R "$work/source"/{kernels,grammars} "$site/cnndsl"
fi
export PYTHONPATH=$site:$root/scripts
"$python" "$support" installed "$site" || exit 2

mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$work/run"
rm -f "$out"/{gpu_check.json,tests.log,benchmark.log,tests_gpu.xml,tests_kernels.xml}

# --- tests -------------------------------------------------------------------------------------------------
status=0
run_tests() { # name, then what pytest is given
    local name=$1
    shift
    echo "tests ($name) ..."
    # Warnings of other versions of torch and triton are no failures; 5 is "no test was selected". An interrupted
    # pytest still reports what it has.
    local code=0
    GPU_CHECK_DEADLINE=$(($(date +%s) + tests_seconds)) timeout --signal=INT --kill-after=20 $((tests_seconds + 120)) \
        "$python" -m pytest -p gpu_check_support -p no:cacheprovider -o filterwarnings=default -q --tb=short \
        --junitxml="$out/tests_$name.xml" $("$python" "$support" workers "$device") "$@" >>"$out/tests.log" 2>&1 || code=$?
    tail -n 1 "$out/tests.log"
    [ "$code" -eq 0 ] || [ "$code" -eq 5 ] || status=1
}
if [ -n "$dry" ]; then
    run_tests kernels tests/kernels/test_softmax.py
else
    run_tests gpu -m gpu tests/gpu tests/runtime tests/ops tests/kernels
    # What kernels compile to is held for one version of Triton, without a GPU.
    run_tests kernels tests/kernels -m "not gpu" --ignore-glob="*/test_compiled_*"
fi

# --- times -------------------------------------------------------------------------------------------------
if [ -n "$dry" ]; then
    timings=(lenet5 --batch 1 --dtype fp32 --repetitions 2)
elif [ -n "$quick" ]; then
    timings=(alexnet vgg16 resnet50 --batch 1,128 --repetitions 20)
else
    timings=(alexnet vgg16 googlenet resnet18 resnet50 --batch 1,16,128 --layers)
fi
echo "times ..."
"$python" benchmarks/networks.py "${timings[@]}" --device "$device" --out "$work/networks.json" \
    >"$work/table" 2>"$out/benchmark.log" || status=1
cat "$work/table" >>"$out/benchmark.log"
"$python" "$support" summary "$out" "$work/networks.json" || status=1
sed '/^$/,$d' "$work/table"
echo "results in $out"
exit "$status"
