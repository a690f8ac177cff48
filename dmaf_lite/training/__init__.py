"""From a cohort to trained weights: one step, the loop, checkpoints, logs, several processes."""
