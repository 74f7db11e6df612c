#!/bin/bash
# Eight workers of one study as a Slurm array: sbatch examples/slurm.sh; later again, with a larger BUDGET, to go on.
#SBATCH --job-name=lmsearcher
#SBATCH --array=1-8
#SBATCH --time=04:00:00
#SBATCH --output=worker-%a.log
# STORAGE: a journal on a file system that all nodes see, or a database: postgresql://user@host/db (password in ~/.pgpass)
srun python examples/worker.py --storage "${STORAGE:-runs/cluster/journal.log}" --budget "${BUDGET:-200}"
