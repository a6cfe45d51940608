"""Drive a Slurm node: a dynamic slurmd that registers itself, drains, gives jobs back, and is removed at the end."""
