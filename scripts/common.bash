# shellcheck shell=bash
# shellcheck disable=SC2034  # used by those who source this
# What the scripts in this folder share: where things are kept, how failures are told, and how a
# file is had from the package mirror this machine is set up with. Sourced, never run.

set -Eeuo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${SDPSERVER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/sdpserver}
MACHINE=$(uname -m)
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# Ends the script with one sentence that says what is wrong and what to do.
die() {
  printf '\n%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

if ! mkdir -p "$CACHE"/{log,lock,tmp} 2>/dev/null || [ ! -w "$CACHE/tmp" ]; then
  die "the cache folder $CACHE cannot be written; make it writable or set SDPSERVER_CACHE to one that is."
fi
# The scripts change folders; realpath -s keeps a virtual environment's link a link.
[[ ${PYTHON:-} != */* ]] || PYTHON=$(realpath -s -- "$PYTHON")
LOG=$CACHE/log/${0##*/}.log
[ "$(stat -c %s "$LOG" 2>/dev/null || echo 0)" -lt 5000000 ] || mv "$LOG" "$LOG.old"

# A package index behind a mirror that is filling its own cache may say nothing for a while; pip would wait for 15 s.
export PIP_DEFAULT_TIMEOUT=${PIP_DEFAULT_TIMEOUT:-60}

# A script that runs others hands its start on, so that their lines tell one time.
export SDPSERVER_STARTED=${SDPSERVER_STARTED:-$EPOCHREALTIME}

# One line of progress with the seconds since the start.
say() {
  local now=${EPOCHREALTIME/[.,]/} start=${SDPSERVER_STARTED/[.,]/} us
  us=$((now - start))
  printf '[%3d.%d s] %s\n' $((us / 1000000)) $((us % 1000000 / 100000)) "$*" >&2
}

# Adds the reason to a failure sentence when the output of the last command tells a well-known one.
explain() {
  local output
  output=$(awk '/^=== / {text = ""} {text = text $0 "\n"} END {printf "%s", text}' "$LOG" 2>/dev/null | tail -c 40000)
  case $output in
    *"No space left on device"* | *"enough free space"*)
      echo "The disk is full: free 3 GB, or point SDPSERVER_CACHE and TMPDIR at another one." ;;
    *"Unable to locate package"* | *"has no installation candidate"* | *"Unable to find a source package"*)
      echo "The package mirror lacks a package: check that Debian's 'main' is among the apt sources." ;;
    *"Could not get lock"* | *"Unable to acquire the dpkg"* | *"Unable to lock"*)
      echo "Another apt is running: wait for it to end and try again." ;;
    *"Could not resolve"* | *"Temporary failure"* | *"Network is unreachable"* | *"Could not connect"* | *"Connection refused"* | *"Connection timed out"* | *"NewConnectionError"* | *"Failed to fetch"*)
      echo "The package mirror or index cannot be reached: check the network and proxy settings." ;;
    *"No matching distribution found"*)
      echo "The Python package index that pip is set up with lacks a package." ;;
    *"fatal error: Killed"* | *"out of memory"* | *"cannot allocate memory"*)
      echo "The machine ran out of memory: the build needs 2 GB." ;;
    *) echo "Look at the end of the log." ;;
  esac
}

# logged SENTENCE COMMAND...: runs the command with its output in the log; a failure ends the script.
logged() {
  local sentence=$1
  shift
  printf '\n=== %(%F %T)T %s\n' -1 "$*" >>"$LOG"
  "$@" >>"$LOG" 2>&1 </dev/null || die "$sentence $(explain) (log: $LOG)"
}

# Holds the lock NAME until this process ends, so that parallel runs build a thing once.
hold_lock() {
  exec {LOCK_FD}>"$CACHE/lock/$1"
  flock -n "$LOCK_FD" && return
  say "waiting for another run that holds $1"
  flock "$LOCK_FD"
}

# A build folder beside the cache entries, so that finishing is one rename; removed at exit.
build_folder() {
  find "$CACHE/tmp" -mindepth 1 -maxdepth 1 -mtime +0 -exec rm -rf {} + 2>/dev/null || true # left by a killed run
  BUILD=$(mktemp -d "$CACHE/tmp/${0##*/}.XXXXXX") || die "no temporary folder can be made in $CACHE/tmp; free some disk space."
  trap 'rm -rf "$BUILD"' EXIT
}

need_disk_mb() {
  local free
  free=$(df -Pm "$CACHE" | awk 'NR == 2 {print $4}')
  [ "$free" -ge "$1" ] || die "$CACHE has $free MB free and this step needs $1 MB; free some, or set SDPSERVER_CACHE to another disk."
}

# need_commands PACKAGES COMMAND...: a clear sentence instead of a failed build.
need_commands() {
  local packages=$1 command
  shift
  for command; do
    command -v "$command" >/dev/null || die "$command is missing; run as root: apt-get install -y --no-install-recommends $packages"
  done
}

# Names this system in cache keys: a library built on one release may not load on another.
system_id() {
  # shellcheck source=/dev/null
  (. /etc/os-release && echo "${ID:-linux}${VERSION_ID:-}")
}

# The Debian mirror of this machine's own apt, never one written down here.
debian_mirror() {
  local mirror=${SDPSERVER_DEBIAN_MIRROR:-} codename
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  # shellcheck disable=SC2016  # apt fills these in
  [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(SITE)' 2>/dev/null \
    | awk -v name="$codename" '($1 == name || $1 ~ /^(old)*stable$/) && $2 == "main" && $3 ~ /\/debian(\/|$)/ {print $3; exit}')
  [ -n "$mirror" ] || die "apt on this machine names no Debian mirror; set SDPSERVER_DEBIAN_MIRROR to the address of one."
  echo "$mirror"
}

# private_apt FOLDER TYPE SUITE: fills APT with the options of an apt of our own that knows SUITE only.
# It checks signatures as ever, touches nothing of the system's and needs no root.
private_apt() {
  local folder=$1 type=$2 suite=$3
  [ -r "$KEYRING" ] || die "Debian's archive keys are missing; run as root: apt-get install -y debian-archive-keyring"
  mkdir -p "$folder/lists/partial" "$folder/empty"
  : >"$folder/status"
  echo "$type [signed-by=$KEYRING] $(debian_mirror) $suite main" >"$folder/sources.list"
  APT=(-qq -o "Dir::Etc::sourcelist=$folder/sources.list" -o "Dir::Etc::sourceparts=$folder/empty"
    -o "Dir::Etc::preferencesparts=$folder/empty" -o "Dir::State::Lists=$folder/lists"
    -o "Dir::State::status=$folder/status" -o "Dir::Cache=$folder" -o Dir::Cache::pkgcache=
    -o Dir::Cache::srcpkgcache= -o "APT::Sandbox::User=$(id -un)" -o Acquire::Languages=none
    -o Acquire::Check-Valid-Until=false -o Debug::NoLocking=1 -o Acquire::Retries=3)
}

# fetch_source SUITE PACKAGE FOLDER: the source package's files, their signatures checked, into FOLDER.
fetch_source() {
  local suite=$1 package=$2 folder=$3
  local sentence="the source package $package of Debian $suite cannot be had."
  private_apt "$BUILD/apt" deb-src "$suite"
  logged "$sentence" apt-get "${APT[@]}" update
  mkdir -p "$folder"
  logged "$sentence" env -C "$folder" apt-get "${APT[@]}" source --download-only "$package"
}
