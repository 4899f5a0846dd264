# jaxlib has no types for its compiled part; without these, most functions of jax.numpy are partly unknown.
from typing import Any

class Device:
    id: int
    platform: str
    process_index: int
    device_kind: str
    def __getattr__(self, name: str) -> Any: ...

def __getattr__(name: str) -> Any: ...
