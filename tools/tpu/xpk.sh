# Below the variables of one run, written by render_launch.py:
#
#   CLUSTER=... PROJECT=... ZONE=... bash xpk.sh attach   the data, once a cluster
#   ...                              bash xpk.sh start
#   ...                              bash xpk.sh list     state of all runs
#   ...                              bash xpk.sh stop     saves; start goes on
#
# Needs xpk 0.11 or later (pip install xpk) and a cluster that it made.
set -euo pipefail
usage="CLUSTER=... PROJECT=... ZONE=... bash xpk.sh attach|start|list|stop"
where=(
  --cluster="${CLUSTER:?$usage}"
  --project="${PROJECT:?$usage}"
  --zone="${ZONE:?$usage}"
)

case "${1:-}" in
  attach) xpk storage attach "${ATTACH[@]}" "${where[@]}" ;;
  start) xpk workload create "${CREATE[@]}" "${where[@]}" ;;
  list) xpk workload list "${where[@]}" ;;
  stop) xpk workload delete --workload="$NAME" "${where[@]}" ;;
  *)
    echo "$usage" >&2
    exit 2
    ;;
esac
