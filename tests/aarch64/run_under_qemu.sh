#!/bin/sh
# epcore's tests on AArch64, on a Debian machine of another architecture: an arm64 Python from Debian and the arm64 wheels of
# NumPy, Numba, SciPy, Pillow and h5py in a folder of their own, run by qemu-user. Nothing is installed, root is not needed.
#
#     run_under_qemu.sh prepare FOLDER        a minute, about 1 GB in FOLDER; apt-get and pip fetch what their settings say
#     run_under_qemu.sh run FOLDER                        the tests below
#     run_under_qemu.sh run FOLDER ARGUMENT...            python ARGUMENT..., in the project's folder
#
# PYTHON names this machine's interpreter. `prepare` uses its pip. `run` has it compile epcore's kernels for AArch64, a minute
# where the emulator takes ten; that needs epcore's dependencies there, and the versions of Python and Numba that FOLDER has, as
# the cache of compiled kernels is theirs. Otherwise the emulated Python compiles. Beside FOLDER a run sees this machine's files
# and environment, so EPCORE_DATA, EPCORE_THREADS and the rest work as always.
set -eu

# What is compiled for a processor, and the plans that run it with several threads.
TESTS="tests/kernels/cpu/test_simd_functions.py tests/kernels/cpu/test_cpu_simd.py tests/kernels/cpu/test_cpu_parity.py tests/kernels/cpu/test_fused_kernels.py
    tests/kernels/cpu/test_panels.py tests/kernels/cpu/test_scatter.py tests/kernels/cpu/test_double_sums.py
    tests/inference/test_inference.py::test_golden_outputs tests/inference/test_inference.py::test_dense_upscaling_kernels
    tests/inference/test_inference.py::test_bitwise_the_same_on_every_call_and_for_any_threads
    tests/inference/test_inference.py::test_plans_called_from_many_threads"

# What every AArch64 processor has. The emulator passes on what it knows of this machine's, which is not that.
cpu=generic features=+neon

project=$(cd "$(dirname "$0")/../.." && pwd)

fail() {
    echo "run_under_qemu.sh: $*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

fetch_debian() { # packages, for arm64 with all they depend on; apt's state is kept in FOLDER
    mkdir -p "$folder/apt/lists/partial" "$folder/apt/archives/partial"
    : >"$folder/apt/status"
    set -- -o "Dir::State=$folder/apt" -o "Dir::State::status=$folder/apt/status" -o "Dir::Cache=$folder/apt" \
        -o Debug::NoLocking=1 -o "APT::Sandbox::User=$(id -un)" -o APT::Architecture=arm64 \
        -o "APT::Architectures=arm64,$(dpkg --print-architecture)" -qq
    apt-get "$@" update || fail "apt-get cannot read the package lists for arm64 (see above)"
    apt-get "$@" -y --no-install-recommends --download-only install python3 libgomp1 libstdc++6 ||
        fail "apt-get finds no arm64 Python: are this machine's package sources Debian's, for all architectures?"
    if [ -z "$emulator" ]; then # static in one package or the other, by Debian's version
        for package in qemu-user-static qemu-user; do
            (cd "$folder/apt/archives" && apt-get "$@" download "$package:$(dpkg --print-architecture)") || continue
            dpkg -x "$folder/apt/archives/$package"_*.deb "$folder/emulator"
            emulator=$(find "$folder/emulator/usr/bin" -name 'qemu-aarch64-static' -o -name 'qemu-aarch64' | head -n 1)
            [ -z "$emulator" ] || break
        done
        rm -f "$folder"/apt/archives/qemu-user*
    fi
    for package in "$folder"/apt/archives/*.deb; do
        dpkg -x "$package" "$folder/root"
    done
}

fetch_wheels() { # for the Python that Debian brought, of any platform up to its C library
    version=$(basename "$(readlink "$folder/root/usr/bin/python3")" | sed 's/python//')
    requirements=$("$python" -c '
import pathlib, re, sys
text = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
print(*re.findall(r"\"(.+?)\"", re.search(r"^dependencies = \[(.+?)\]", text, re.M | re.S)[1]))' "$project/pyproject.toml")
    platforms=--platform=manylinux2014_aarch64
    glibc=17
    while [ $glibc -le 36 ]; do
        platforms="$platforms --platform=manylinux_2_${glibc}_aarch64"
        glibc=$((glibc + 1))
    done
    # shellcheck disable=SC2086
    "$python" -m pip install --quiet --upgrade --target "$folder/site" --only-binary=:all: --implementation cp \
        --python-version "$version" $platforms $requirements pytest hypothesis || fail "pip found no arm64 wheels (see above)"
}

write_python() { # a command that is an AArch64 Python, also as the sys.executable that it starts others with
    cat >"$folder/root/usr/bin/emulated-python" <<END
#!/bin/sh
export PYTHONPATH="$folder/site\${PYTHONPATH:+:\$PYTHONPATH}" NUMBA_CACHE_DIR="\${NUMBA_CACHE_DIR:-$folder/numba}"
export NUMBA_CPU_NAME="\${NUMBA_CPU_NAME:-$cpu}" NUMBA_CPU_FEATURES="\${NUMBA_CPU_FEATURES:-$features}"
exec "$emulator" -L "$folder/root" -0 "$folder/root/usr/bin/emulated-python" "$folder/root/usr/bin/python3" "\$@"
END
    chmod +x "$folder/root/usr/bin/emulated-python"
    ln -sf root/usr/bin/emulated-python "$folder/python"
}

[ $# -ge 2 ] || usage
action=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
python=$(command -v "${PYTHON:-python3}") || fail "there is no ${PYTHON:-python3}: name an interpreter in PYTHON"
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
shift 2

case $action in
prepare)
    [ "$(uname -m)" != aarch64 ] || fail "this machine is AArch64: make test runs the tests on it"
    for command in apt-get dpkg; do
        command -v $command >/dev/null || fail "$command is missing: this needs Debian or one of its kin"
    done
    "$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip (Debian: python3-pip, or name another in PYTHON)"
    emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64 || :)
    fetch_debian
    [ -n "$emulator" ] || fail "no package of this release has an emulator: install qemu-user and prepare again"
    fetch_wheels
    write_python
    mkdir -p "$folder/numba"
    "$folder/python" -c 'import platform, numba; print("ready:", platform.machine(), "Python", platform.python_version())'
    ;;
run)
    [ -x "$folder/python" ] || fail "$folder is not prepared: run_under_qemu.sh prepare $folder"
    cd "$project"
    export PYTHONPATH="$project" NUMBA_CACHE_DIR="$folder/numba"
    versions='import numba, sys; print(*sys.version_info[:2], numba.__version__)'
    theirs=$("$folder/python" -c "$versions")
    if [ "$("$python" -c "$versions" 2>/dev/null)" = "$theirs" ]; then
        (cd tests && "$python" -m aarch64.compile_kernels $cpu $features network >/dev/null)
    else
        echo "$python has not Python and Numba $theirs: the emulated Python compiles everything" >&2
    fi
    if [ $# -eq 0 ]; then
        # shellcheck disable=SC2086
        set -- -m pytest -q -m "not slow" --durations=10 $TESTS
    fi
    exec "$folder/python" "$@"
    ;;
*) usage ;;
esac
