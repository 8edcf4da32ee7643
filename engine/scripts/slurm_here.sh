#!/bin/bash
# A Slurm of one node from Debian's packages, in a folder; nothing is installed. Takes root, and an apt that can download.
#
#   eval "$(engine/scripts/slurm_here.sh start FOLDER)"    srun, sbatch and the others are on the PATH of this shell
#   engine/scripts/slurm_here.sh stop FOLDER
#
# As many tasks at a time as there are cores, from any user of this machine: there is no authentication.
set -eu
what=$1 folder=$(realpath -m "$2") host=$(hostname -s)
root=$folder/root
export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu/slurm-wlm SLURM_CONF=$folder/slurm.conf

stop() {
  for file in "$folder"/*.pid; do
    [ -f "$file" ] || continue
    pid=$(cat "$file")
    kill "$pid" && while [ -e "/proc/$pid" ]; do sleep 0.1; done
  done
  if [ "$(readlink /usr/sbin/slurmstepd)" = "$root/usr/sbin/slurmstepd-wlm" ]; then rm /usr/sbin/slurmstepd; fi
}

unpack() {
  mkdir -p "$folder/packages"
  cd "$folder/packages"
  apt-get install --simulate --no-install-recommends slurmctld slurmd slurm-client 2>/dev/null |
    awk '/^Inst/ { print $2 }' | xargs apt-get download >/dev/null 2>&1
  for file in *.deb; do dpkg -x "$file" "$root"; done
}

configure() {
  mkdir -p "$folder/state" "$folder/spool"
  cat >"$SLURM_CONF" <<END
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthType=auth/none
CredType=cred/none
PluginDir=$root/usr/lib/x86_64-linux-gnu/slurm-wlm
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ReturnToService=2
KillWait=10
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start() {
  [ -x "$root/usr/sbin/slurmctld-wlm" ] || (unpack)
  configure
  # slurmd looks for it there alone.
  [ -e /usr/sbin/slurmstepd ] || ln -s "$root/usr/sbin/slurmstepd-wlm" /usr/sbin/slurmstepd
  "$root/usr/sbin/slurmctld-wlm" -c >&2
  "$root/usr/sbin/slurmd-wlm" -N "$host" >&2
  for _ in $(seq 60); do
    "$root/usr/bin/sinfo" --noheader --format %t 2>/dev/null | grep -q idle && break
    sleep 0.5
  done
  "$root/usr/bin/sinfo" >&2
  echo "export PATH='$root/usr/bin':\$PATH SLURM_CONF='$SLURM_CONF' LD_LIBRARY_PATH='$LD_LIBRARY_PATH'"
}

case $what in
  start) start ;;
  stop) stop ;;
  *) echo "error: given $what; allowed: start, stop" >&2; exit 2 ;;
esac
