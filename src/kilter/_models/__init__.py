"""The one place that reads, copies and edits Keras models and their variables."""
