"""Speed and memory of training, evaluation and data loading, as ratios to a plain reference in the same run.

``python -m benchmarks run`` measures and writes `docs/benchmarks.json`, its table and its figure.  Every measurement
runs in a process of its own, so that peak memory is that measurement's.
"""
