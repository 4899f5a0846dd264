"""The peers: programs that train one workload with one framework, an epoch whenever the driver says so."""
