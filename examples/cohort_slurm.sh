#!/bin/sh
# A cohort as a SLURM job array: one shard a task, one ledger a shard, summed up afterwards.
#   sbatch --array=1-8 examples/cohort_slurm.sh CASES.csv DIR [OPTIONS OF ki67 score]
#   then: ki67 cohort collect DIR
# The folder must be on a file system that all nodes share. A task that is stopped continues when it is submitted again.
#SBATCH --job-name=ki67
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --output=ki67-%A_%a.log
cases=$1
out=$2
shift 2
exec ki67 cohort "$cases" --out "$out" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --quiet -- "$@"
