"""One schedule per file: its class, its public function, and the `KIND` that recipes are made from."""
