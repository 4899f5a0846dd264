"""Learning-rate finder, clipping threshold, gradient noise scale, curvature."""
