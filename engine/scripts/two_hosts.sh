#!/bin/bash
# Trains on two hosts that are network namespaces of this machine, joined by a cable, and disturbs them; takes root.
#
#   engine/scripts/two_hosts.sh none|kill|term|stop|cut|fewer LOGS    from the root of the project
#
# none: nothing is done to them. kill, term, stop: a training process gets SIGKILL, SIGTERM, SIGSTOP. cut: the cable is
# out for 30 s. fewer: both hosts are told to end, and a single process goes on.
# It ends with 0 if the run came back and its weights are those of a single process, to 1e-6. PY is the Python to use,
# EPOCHS how long it trains, SILENCE after how many seconds a stopped process is missed: a busy machine starts slower.
set -eu
what=$1 logs=$(realpath -m "$2") py=${PY:-.venv/bin/python}
[ "$what" = stop ] && missed=20 || missed=300
settings=(model=mlp "model.hidden=[16]" model.dropout=0 data=fake data.num_images=352 data.num_classes=4
  data.image_size=8 data.batch_size=16 logger=csv callbacks.summary=null trainer.enable_model_summary=false
  callbacks.early_stopping=null trainer.enable_progress_bar=false "trainer.max_epochs=${EPOCHS:-200}"
  callbacks.resume_checkpoint.every_n_steps=50 "callbacks.resume_checkpoint.silence_s=${SILENCE:-$missed}"
  experiment_name=hosts)

down() { for i in 0 1; do ip netns del "kin$i" 2>/dev/null || true; done; }

up() {
  down
  for i in 0 1; do ip netns add "kin$i" && ip -n "kin$i" link set lo up; done
  ip link add kv0 netns kin0 type veth peer name kv1 netns kin1
  for i in 0 1; do ip -n "kin$i" addr add "10.77.0.$((i + 1))/24" dev "kv$i" && ip -n "kin$i" link set "kv$i" up; done
}

# Of torchrun, is_host says who opens the store: the name of this machine is that of neither. A store for each start:
# else a process may connect to where another one was before a restart.
host() {
  export GLOO_SOCKET_IFNAME=kv$1 TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
  exec ip netns exec "kin$1" "$py" -m torch.distributed.run --nnodes 2 --nproc-per-node 1 \
    --rdzv-backend c10d --rdzv-endpoint 10.77.0.1:29500 --rdzv-conf "is_host=$((1 - $1))" --rdzv-id hosts \
    --local-addr "10.77.0.$(($1 + 1))" --max-restarts 5 --shutdown-timeout 10 \
    train.py "${settings[@]}" trainer=ddp_cpu trainer.devices=1 trainer.num_nodes=2 resume=auto "paths.logs=$logs" \
    >"$logs/host$1.txt" 2>&1
}

trainer_of() {
  for pid in $(ip netns pids "kin$1"); do
    tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "torch.distributed.run" || { echo "$pid"; return; }
  done
}

say() { echo "$(date +%T) $*"; }

mkdir -p "$logs"
up
trap 'for i in 0 1; do kill $(ip netns pids kin$i) 2>/dev/null || true; done; down' EXIT
host 0 & first=$!
host 1 & second=$!
say "two hosts started"
until ls "$logs"/*/*/checkpoints/step_*.ckpt >/dev/null 2>&1; do sleep 0.2; kill -0 "$first"; done
case $what in
  kill | term | stop)
    pid=$(trainer_of 1)
    kill "-${what^^}" "$pid"
    say "SIG${what^^} to the training process $pid of host 1"
    ;;
  fewer) kill "$first" "$second" && say "both told to end" ;;
  cut) ip -n kin1 link set kv1 down && say "cable out" && sleep 30 && ip -n kin1 link set kv1 up && say "cable in" ;;
esac
code=0
wait "$first" || code=$?
say "host 0 ended with $code"
wait "$second" || code=$?
say "both ended, the last code that was not 0: $code"
if [ "$what" = fewer ]; then
  code=0
  "$py" train.py "${settings[@]}" trainer=cpu "resume=$(dirname "$logs"/*/*/run.json)" "paths.logs=$logs" \
    >"$logs/fewer.txt" 2>&1 || code=$?
  say "a single process has gone on and ended with $code"
fi
grep -h "goes on at" "$logs"/*.txt || true
"$py" train.py "${settings[@]}" trainer=cpu "hydra.run.dir=$logs/single" "paths.logs=$logs" >"$logs/single.txt" 2>&1
"$py" - "$logs" <<'END'
import sys
from pathlib import Path

import torch

logs = Path(sys.argv[1])
runs = [file.parent for file in logs.glob("*/*/run.json")]
assert len(runs) == 1, f"{len(runs)} run folders"
one, two = (torch.load(each / "checkpoints/last.ckpt", weights_only=True) for each in (logs / "single", *runs))
distance = max(float((value - two["state_dict"][name]).abs().max()) for name, value in one["state_dict"].items())
print(f"one run folder, {two['global_step']} steps of {one['global_step']}; weights differ by {distance:.1e}")
sys.exit(distance > 1e-6 or one["global_step"] != two["global_step"])
END
exit "$code"
