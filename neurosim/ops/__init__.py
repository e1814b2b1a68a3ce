"""Fused operations: each with a schema, a reference in torch that defines it, a gradient, and kernels for CPU and CUDA."""
