"""Programs by a second author, who saw neither kilter nor the other programs."""
