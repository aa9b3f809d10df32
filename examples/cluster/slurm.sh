#!/bin/bash
# A sweep on the nodes of one Slurm allocation. From a clone of robust-lr on a disk that all nodes mount, with
# `pip install '.[torch,ray,sklearn,report]'` in the environment that is active:
#
#   sbatch examples/cluster/slurm.sh
#   sbatch examples/cluster/slurm.sh examples/wrn.py --tier full --runner ray --journal wrn.jsonl --report wrn.html
#   squeue --me
#   tail -f ray-sweep.out
#   scancel --name ray-sweep
#
# The second runs the Wide ResNets, or a script of your own that takes --address. The journal is in the folder of
# sbatch. Two minutes before its time is up the job puts itself back into the queue, and
# goes on from there; so does a job that is preempted, and `sbatch` again after scancel.
# EDIT: nodes, GPUs, CPUs, time; partition and account, if your cluster asks for them; the modules to load.

#SBATCH --job-name=ray-sweep
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append
#SBATCH --output=ray-sweep.out

set -euo pipefail

ray get-auth-token --generate >/dev/null # others reach the ports of this job; the home folder has the token everywhere
export RAY_AUTH_MODE=token

port=$((20000 + SLURM_JOB_ID % 10000)) # other jobs on these nodes have others
ip=$(python -c "import ray.util; print(ray.util.get_node_ip_address())")
options=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --temp-dir="/tmp/ray-$SLURM_JOB_ID")
options+=(--disable-usage-stats --block)

pids=()
finish() {
    trap - USR1 TERM EXIT
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do # the driver first, the head last
        kill -TERM "${pids[i]}" 2>/dev/null && wait "${pids[i]}" || true
    done
    rm -rf "/tmp/ray-$SLURM_JOB_ID"
}
trap finish EXIT
trap 'finish; scontrol requeue "$SLURM_JOB_ID"; exit 0' USR1
trap 'exit 143' TERM # preempted, which queues the job again, or canceled, which does not

ray start --head --node-ip-address="$ip" --port="$port" --include-dashboard=false "${options[@]}" >/dev/null &
pids+=($!)
until (: <"/dev/tcp/$ip/$port") 2>/dev/null; do
    kill -0 "${pids[0]}" # ends the job, if the head has ended
    sleep 1
done
if ((SLURM_NNODES > 1)); then
    # shellcheck disable=SC2016
    srun --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --cpus-per-task="$SLURM_CPUS_PER_TASK" \
        --exclude="$SLURMD_NODENAME" --no-kill \
        bash -c 'trap : TERM; ray start "$@"; rm -rf "/tmp/ray-$SLURM_JOB_ID"' ray \
        --address="$ip:$port" "${options[@]}" >/dev/null &
    pids+=($!)
fi

(($#)) || set -- examples/ray_sweep.py --gpus-per-trial 1 --journal sweep.jsonl --output report.html
python "$@" --address "$ip:$port" &
pids+=($!)
wait $! # in the background, for the traps to be heard at once
