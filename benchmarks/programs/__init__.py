"""A corpus of Keras programs as people write them: faulty ones with their causes, sound ones, odd ones."""
