#!/bin/sh
# Wheels with the native kernels for Linux: manylinux2014 (glibc 2.17 and later), x86-64 and aarch64, into dist/.
#
#     make wheels          or: PYTHON=python3.12 sh packaging/wheels.sh
#
# The compiler is Zig's Clang from PyPI, which brings the libraries of every target along: no container is needed, and
# the wheel for the other processor is made here too. A wheel has no Python in it, so one serves Python 3.11 and later.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
python="$work/venv/bin/python"
"$python" -m pip install --quiet "ziglang>=0.13,<1" "wheel>=0.45,<1" "build>=1.2,<2"
printf '#!/bin/sh\nexec "%s" -m ziglang c++ -target "$ZIG_TARGET" "$@"\n' "$python" > "$work/c++"
chmod +x "$work/c++"
for processor in x86_64 aarch64; do
  export ZIG_TARGET="$processor-linux-gnu.2.17"
  export CMAKE_ARGS="-DCMAKE_CXX_COMPILER=$work/c++ -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=$processor"
  "$python" -m build --wheel --outdir "$work/$processor" .
  # a wheel without the library would be taken for one with it
  "$python" -m zipfile -l "$work/$processor"/*.whl | grep -q native/kernels.so
  "$python" -m wheel tags --remove --python-tag py3 --abi-tag none \
    --platform-tag "manylinux_2_17_$processor.manylinux2014_$processor" "$work/$processor"/*.whl
  mkdir -p dist
  mv "$work/$processor"/*.whl dist/
done
ls -l dist
