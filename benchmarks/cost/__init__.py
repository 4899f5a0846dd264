"""Programs of the cost of a diagnosis and a treatment, and how that cost is counted."""
