# Below the variables of one run, written by render_launch.py; from the root of
# the repository:
#
#   PROJECT=... ZONE=... bash vm.sh create    asks for TPUs, waits for them
#   ...                  bash vm.sh install   these sources, and the data's mount
#   ...                  bash vm.sh start     on all hosts
#   ...                  bash vm.sh log       of the first host, as it grows
#   ...                  bash vm.sh stop      saves; start goes on
#   ...                  bash vm.sh delete    the TPUs, not the run
#
# Each host runs a unit of systemd: it is started again when it fails, and is
# given time to save when the machine is shut down. TPUs that were taken away
# are gone: delete, create, install and start continue the run.
set -euo pipefail
usage="PROJECT=... ZONE=... bash vm.sh create|install|start|log|stop|delete"
where=(--project="${PROJECT:?$usage}" --zone="${ZONE:?$usage}")
tpus=(gcloud compute tpus queued-resources)

everywhere() { # command
  "${tpus[@]}" ssh "$NAME" "${where[@]}" --node=all --worker=all --command="$1"
}

create() {
  "${tpus[@]}" create "$NAME" "${where[@]}" "${CREATE[@]}"
  while true; do
    state=$("${tpus[@]}" describe "$NAME" "${where[@]}" \
      --format='value(state.state)')
    echo "$(date +%T) $state"
    case "$state" in
      ACTIVE) return ;;
      FAILED | SUSPEND*)
        echo "vm.sh: $NAME is $state; delete it, and create it again" >&2
        exit 1
        ;;
    esac
    sleep 30
  done
}

install() {
  local archive
  archive=$(mktemp)
  tar -czf "$archive" setup.py yue_jax experiments tools
  "${tpus[@]}" scp "$archive" "$NAME:yue_jax.tar.gz" "${where[@]}" \
    --node=all --worker=all
  rm "$archive"
  everywhere "DATA_BUCKET=$(printf %q "$DATA_BUCKET"); $(on_install)"
}

on_install() {
  cat <<'HOST'
set -euo pipefail
mkdir -p ~/yue_jax/data
cd ~/yue_jax
tar -xzf ../yue_jax.tar.gz
# The Python of these machines may be older than 3.11.
uv=~/.local/bin/uv
[ -x $uv ] || curl -LsSf https://astral.sh/uv/install.sh | sh
[ -d .venv ] || $uv venv --quiet --python 3.12 .venv
$uv pip install --quiet --python .venv/bin/python -e '.[tpu]'
if ! command -v gcsfuse >/dev/null; then
  key=/usr/share/keyrings/cloud.google.asc
  apt=https://packages.cloud.google.com/apt
  curl -fsS $apt/doc/apt-key.gpg | sudo tee $key >/dev/null
  echo "deb [signed-by=$key] $apt gcsfuse-$(lsb_release -cs) main" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  sudo apt-get -qq update
  sudo apt-get -qq install gcsfuse
fi
mountpoint -q data || gcsfuse -o ro --implicit-dirs "$DATA_BUCKET" data
HOST
}

start() {
  everywhere "mountpoint -q ~/yue_jax/data &&
    sudo systemd-run --unit=$NAME --collect --uid=\$(id -u) \
    --working-directory=\$HOME/yue_jax --setenv=HOME=\$HOME \
    $(printf '%q ' "${SERVICE[@]}") \
    \$HOME/yue_jax/.venv/bin/python $(printf '%q ' "${COMMAND[@]}")"
}

case "${1:-}" in
  create | install | start) "$1" ;;
  log)
    "${tpus[@]}" ssh "$NAME" "${where[@]}" \
      --command="sudo journalctl --unit=$NAME --follow"
    ;;
  stop) everywhere "sudo systemctl stop $NAME" ;;
  delete) "${tpus[@]}" delete "$NAME" "${where[@]}" --force ;;
  *)
    echo "$usage" >&2
    exit 2
    ;;
esac
