"""Lessons outside JupyterLab: executed in fresh kernels, and as pages that need neither a kernel nor a network."""
