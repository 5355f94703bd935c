#!/usr/bin/env bash
# Makes the environment: .venv with torch, mmcv's compiled operators, the rest of requirements.txt and
# this project. Needs Python 3.10-3.12 with headers, gcc/g++ and a network; no root. The first run
# compiles mmcv's operators (minutes); an interrupted run goes on where it stopped; when nothing has
# changed a run costs seconds. Overridable, all as environment variables:
#   PYTHON        interpreter to start from                  (default: the first fitting one on PATH)
#   VENV          where the environment goes                 (default: .venv)
#   MAX_JOBS      parallel compiler processes                (default: cores, limited by free memory)
#   OPS           auto, cpu or cuda: which operators of mmcv (default: auto)
#   KD_CACHE      where the compiled mmcv is kept for later clones  (default: ~/.cache/kd_methods)
#   MIN_FREE_GB   free disk space to ask for                 (default: 5)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV="${VENV:-.venv}"
case "$VENV" in /*) ;; *) VENV="$PWD/$VENV" ;; esac
OPS="${OPS:-auto}"
MIN_FREE_GB="${MIN_FREE_GB:-5}"
KD_CACHE="${KD_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/kd_methods}"
STEPS=6
START=$SECONDS
CHILD=''

say() { echo "set-up: $*"; }
die() {
  echo "set-up stopped: $1" >&2
  shift
  for line in "$@"; do echo "  $line" >&2; done
  exit 1
}
on_signal() {
  [ -z "$CHILD" ] || kill -TERM -- "-$CHILD" 2>/dev/null || true
  echo "set-up interrupted; run it again and it goes on from here." >&2
  exit 130
}
trap on_signal INT TERM

# ---- which Python -----------------------------------------------------------------------------------
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }
supported() { case "$1" in 3.10 | 3.11 | 3.12) return 0 ;; *) return 1 ;; esac; }
wrong_python() {
  die "$1 is Python ${2:-(does not start)}, but 3.10, 3.11 or 3.12 is needed (this project is tested with those)." \
    "Install one of them (Debian: apt-get install python3.11 python3.11-venv python3.11-dev) and run" \
    "PYTHON=/path/to/python3.11 bash tools/setup_env.sh"
}

if [ -n "${PYTHON:-}" ]; then
  supported "$(version_of "$PYTHON")" || wrong_python "$PYTHON" "$(version_of "$PYTHON")"
else
  for candidate in python3 python3.12 python3.11 python3.10; do
    if supported "$(version_of "$candidate")"; then PYTHON=$candidate; break; fi
  done
  [ -n "${PYTHON:-}" ] || [ -x "$VENV/bin/python" ] || wrong_python python3 "$(version_of python3)"
fi
case "$OPS" in auto | cpu | cuda) ;; *) die "OPS=$OPS is not one of auto, cpu, cuda." ;; esac

PY="$VENV/bin/python"
if [ -e "$VENV" ] && [ -x "$PY" ]; then
  have=$(version_of "$PY")
  supported "$have" || die "$VENV holds Python ${have:-that does not start (was the folder moved?)}." \
    "Remove it (rm -rf $VENV) or choose another place (VENV=...), then run this again."
  if [ -n "${PYTHON:-}" ] && [ "$have" != "$(version_of "$PYTHON")" ]; then
    say "$VENV exists with Python $have and is used (remove it to change to $(version_of "$PYTHON"))."
  fi
fi

# ---- is there anything to do ------------------------------------------------------------------------
check_ops() { "$PY" tools/setup_helper.py check "$1" "$(pin onedl-mmcv | cut -d= -f3)" 2>&1; }
pin() { grep -m1 -E "^$1==" requirements.txt; }
stamp_key() {
  {
    cat requirements.txt setup.py tools/setup_env.sh tools/setup_helper.py kd_methods/compat/packages.py
    "$PY" -V
    echo "$PWD $OPS $(command -v nvcc || true) $(ls /dev/nvidia0 2>/dev/null || true)"
  } | sha256sum | cut -d' ' -f1
}
STAMP="$VENV/set_up_for"  # line 1: hash of all inputs; line 2: which operators were built
if [ -f "$STAMP" ] && [ "$(head -n1 "$STAMP")" = "$(stamp_key)" ]; then
  problem=$("$PY" tools/setup_helper.py damaged)
  if [ -n "$problem" ]; then
    problem="overwritten or abandoned packages: $problem"
  elif problem=$(check_ops "$(tail -n1 "$STAMP")"); then
    say "up to date ($VENV, $((SECONDS - START)) s)."
    exit 0
  fi
  say "the environment was complete but no longer works (${problem##*$'\n'}); repairing it."
fi

# ---- what has to be there before minutes are spent --------------------------------------------------
APT="On Debian or Ubuntu, as root: apt-get install"
if [ ! -x "$PY" ]; then
  "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
    die "$PYTHON cannot make virtual environments (module venv or ensurepip is missing)." \
      "$APT python$(version_of "$PYTHON")-venv"
  base=$PYTHON
else
  base=$PY
fi
mkdir -p "$VENV"
free_gb=$(($(df -Pk "$VENV" | awk 'NR == 2 {print $4}') / 1048576))
used_gb=$(($(du -sk "$VENV" | cut -f1) / 1048576))
[ $((free_gb + used_gb)) -ge "$MIN_FREE_GB" ] ||
  die "only $free_gb GB are free where $VENV goes, about $MIN_FREE_GB GB are needed (10 GB with CUDA)." \
    "Free some, put the environment elsewhere (VENV=/other/disk/venv), or lower MIN_FREE_GB."
for tool in gcc g++; do
  command -v "$tool" >/dev/null ||
    die "$tool was not found; mmcv's operators have to be compiled." "$APT gcc g++"
done
include=$("$base" -c 'import sysconfig; print(sysconfig.get_config_var("INCLUDEPY"))')
if ! problem=$(echo '#include <Python.h>' | g++ -I"$include" -fsyntax-only -x c++ - 2>&1); then
  if [ -e "$include/Python.h" ]; then
    die "g++ cannot compile a file that includes Python.h:" "$problem" \
      "The C library's headers may be missing. $APT build-essential"
  fi
  die "Python's headers are missing ($include/Python.h)." "$APT python$(version_of "$base")-dev"
fi

# ---- long steps, with a sign of life every 20 seconds -----------------------------------------------
LOG="$VENV/set_up.log"  # pip's and the compiler's output
progress() { echo "$(du -sm "$VENV" 2>/dev/null | cut -f1) MB in $VENV"; }
step() {  # step NUMBER TITLE COMMAND...: output goes to the log, its end is shown if the step fails
  local title="[$1/$STEPS] $2" begin=$SECONDS last=0 t
  shift 2
  say "$title"
  echo "### $title: $*" >>"$LOG"
  set -m  # a process group of its own, so that an interrupt can end the compilers too
  "$@" >>"$LOG" 2>&1 </dev/null &
  CHILD=$!
  set +m
  while kill -0 "$CHILD" 2>/dev/null; do
    sleep 1
    t=$((SECONDS - begin))
    if [ $((t - last)) -ge 20 ]; then
      last=$t
      say "    $(printf '%d min %02d s' $((t / 60)) $((t % 60))), $(progress)"
    fi
  done
  if ! wait "$CHILD"; then
    CHILD=''
    tail -n 25 "$LOG" >&2
    die "step $title failed; the end of its output is above, all of it in $LOG." \
      "If it was the network, run this again: it goes on from here."
  fi
  CHILD=''
}

date >>"$LOG"
"$PY" -m pip --version >/dev/null 2>&1 ||
  step 1 "virtual environment in $VENV with Python $(version_of "$base")" "$base" -m venv "$VENV"
export PIP_DISABLE_PIP_VERSION_CHECK=1 TMPDIR="$VENV/tmp"
rm -rf "$TMPDIR" && mkdir -p "$TMPDIR"  # what an interrupted download left
# 14,000 Python files, most never imported: those that are get byte-compiled at the end
pip_install() { "$PY" -m pip install --no-compile "$@"; }
case "$("$PY" -m pip --version)" in
  "pip "[0-9].* | "pip 1"[0-9].* | "pip 2"[01].*) step 1 "newer pip" pip_install 'pip>=22' ;;
esac

# The abandoned mmsegmentation, mmcv, ... bring the modules of the onedl-* packages, and installed over them
# they destroy the environment: pip is to refuse them, and what they have done already is undone.
"$PY" tools/setup_helper.py refuse "$VENV"
damaged=$("$PY" tools/setup_helper.py damaged)
if [ -n "$damaged" ]; then
  say "packages lie over each other; these are removed, and the right ones installed again: $damaged"
  # shellcheck disable=SC2086  # one word a package
  step 1 "removing overwritten packages" "$PY" -m pip uninstall -y $damaged
fi

# torch first: mmcv, built without it, silently leaves its operators out
grep -E '^(torch|numpy|setuptools|wheel|ninja|psutil|packaging)==' requirements.txt >"$VENV/build_requirements.txt"
step 2 "torch and build tools (a CUDA build of torch is several GB to fetch)" \
  pip_install -r "$VENV/build_requirements.txt"

# ---- the other packages: before mmcv, which imports some of them --------------------------------------
grep -v '^onedl-mmcv==' requirements.txt >"$VENV/other_requirements.txt"
step 3 "the other packages of requirements.txt" \
  pip_install --no-build-isolation -r "$VENV/other_requirements.txt"
# Two packages own the folder cv2. The plain one needs libGL.so.1 and glib, which a server has not; the
# headless one needs neither, so it has to be the one that is written last.
if [ "$("$PY" -c 'import cv2; print(cv2.version.headless)' 2>/dev/null)" != True ]; then
  step 4 "OpenCV without windows (no libGL needed)" \
    pip_install --force-reinstall --no-deps "$(pin opencv-python-headless)"
fi

# ---- which operators ---------------------------------------------------------------------------------
gpu_report=$("$PY" tools/setup_helper.py operators) ||
  die "torch was installed but does not work; see the message above."
ops=${gpu_report%%|*}
hint=${gpu_report#*|}
[ "$OPS" = auto ] || ops=$OPS
[ -z "$hint" ] || say "$hint."

# ---- mmcv --------------------------------------------------------------------------------------------
if [ -z "${MAX_JOBS:-}" ]; then  # a compiler process takes up to 1.5 GB
  MAX_JOBS=$(nproc)
  by_memory=$(($(awk '/MemAvailable/ {print $2}' /proc/meminfo) / 1572864))
  [ "$by_memory" -ge 1 ] || by_memory=1
  [ "$MAX_JOBS" -le "$by_memory" ] || MAX_JOBS=$by_memory
fi
export MAX_JOBS
build="$VENV/build_mmcv_$ops"
wheels="$KD_CACHE/$(pin onedl-mmcv)_$("$PY" -c 'import sys, platform, torch
print(f"torch{torch.__version__}_cp{sys.version_info[0]}{sys.version_info[1]}_{platform.machine()}")')_$ops"
saved_wheel() { ls "$wheels"/*.whl 2>/dev/null | head -n1; }
install_wheel() { pip_install --force-reinstall --no-deps "$(saved_wheel)"; }

unpack_mmcv() {  # unpack_mmcv grouped|plain; the folder appears when it is complete
  rm -rf "$build/src" "$build/unpacked" && mkdir -p "$build/unpacked"
  tar -xzf "$build"/onedl_mmcv-*.tar.gz -C "$build/unpacked" --strip-components=1
  [ "$1" = plain ] || "$PY" tools/setup_helper.py group "$build/unpacked/mmcv/ops/csrc/pytorch"
  mv "$build/unpacked" "$build/src"
}
build_mmcv() {  # in a folder that stays until it is done, so that compiled files survive an interrupt
  mkdir -p "$build" "$wheels"
  ls "$build"/onedl_mmcv-*.tar.gz 2>/dev/null ||
    "$PY" -m pip download --no-deps --no-build-isolation --no-binary onedl-mmcv -d "$build" "$(pin onedl-mmcv)"
  local wheel=("$PY" -m pip wheel -v --no-deps --no-build-isolation -w "$build/out" "$build/src")
  # -g0: no debug information; same machine code, 4/10 less compile time
  export CFLAGS="${CFLAGS:-} -g0" CXXFLAGS="${CXXFLAGS:-} -g0"
  if [ "$ops" = cuda ]; then
    [ -d "$build/src" ] || unpack_mmcv plain
    FORCE_CUDA=1 "${wheel[@]}"
  else
    export FORCE_CUDA=0 CUDA_VISIBLE_DEVICES=
    [ -d "$build/src" ] || unpack_mmcv grouped
    if ! "${wheel[@]}"; then
      echo "### grouped sources did not compile; each one alone now"
      unpack_mmcv plain
      "${wheel[@]}"
    fi
  fi
  mv "$build"/out/*.whl "$wheels/"
}

if problem=$(check_ops "$ops"); then
  say "[5/$STEPS] mmcv's operators are there and work"
else
  if [ -n "$(saved_wheel)" ]; then
    step 5 "mmcv, compiled earlier on this machine ($wheels)" install_wheel
    if ! problem=$(check_ops "$ops"); then
      say "the saved mmcv does not work here (${problem##*$'\n'}); compiling it again."
      rm -rf "$wheels"
    fi
  fi
  if [ -z "$(saved_wheel)" ]; then
    if [ "$ops" = cuda ]; then
      estimate="can take half an hour or more, depending on cores; once"
    else
      estimate="about $((MAX_JOBS > 1 ? 3 : 5)) minutes on an idle machine, once"
    fi
    progress() {
      local all
      all=$(cat "$build"/src/build/temp*/build.ninja 2>/dev/null | grep -c '^build .*\.o:') || true
      echo "$(find "$build" -name '*.o' 2>/dev/null | wc -l) of ${all:-0} files compiled"
    }
    step 5 "compiling mmcv's $ops operators with $MAX_JOBS jobs ($estimate)" build_mmcv
    progress() { echo "unpacking"; }
    step 5 "installing the compiled mmcv" install_wheel
    problem=$(check_ops "$ops") ||
      die "mmcv was compiled but its operators do not work:" "$problem" "The build's output is in $LOG."
  fi
  rm -rf "$build"
fi

# ---- this project ------------------------------------------------------------------------------------
progress() { echo "installing"; }
step 6 "this project" pip_install --no-deps --no-build-isolation -e .

problem=$(check_ops "$ops") || die "mmcv's operators do not work after all steps:" "$problem"
# yapf, which mmengine imports, writes its grammar on the first import; two ranks that do so at once break.
# The modules that each run imports are byte-compiled here, also where the environment says that no run may
# write that: a start takes half as long with it.
problem=$(PYTHONDONTWRITEBYTECODE='' "$PY" -c 'import cv2, sklearn, matplotlib, yapf.yapflib.yapf_api
import kd_methods, mmseg.datasets, mmseg.evaluation, mmseg.models, mmdet.datasets, mmdet.evaluation, mmdet.models
' 2>&1) || {
  case "$problem" in
    *libGL* | *libgthread* | *libglib*)
      die "OpenCV misses a system library: ${problem##*$'\n'}" "$APT libgl1 libglib2.0-0" ;;
  esac
  die "an installed package does not import:" "$problem"
}
printf '%s\n%s\n' "$(stamp_key)" "$ops" >"$STAMP"
rm -rf "$TMPDIR"
say "done in $(((SECONDS - START) / 60)) min $(((SECONDS - START) % 60)) s:" \
  "$("$PY" -c 'import platform, torch, mmcv
print(f"Python {platform.python_version()}, torch {torch.__version__}, mmcv {mmcv.__version__}")')" \
  "with $ops operators. Activate with: . $VENV/bin/activate"
