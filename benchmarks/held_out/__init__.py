"""Programs that kilter's authors did not write, and the judge that runs the doctor on them."""
