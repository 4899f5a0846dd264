"""What benchmarks/short.py trains."""
