"""Health: what is wrong with a network, its data and its training, as findings with evidence."""
