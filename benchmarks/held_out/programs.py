"""All programs, in the order in which they are listed."""

from held_out import (
    attention_faults,
    conv_faults,
    data_faults,
    dense_faults,
    embedding_faults,
    noise_programs,
    pair_faults,
    recurrent_faults,
    segmentation_faults,
    sound_images,
    sound_rows,
    sound_sequences,
    table_faults,
)
from held_out.case import PROGRAMS
from held_out.second import attention, dense, images, noisy, pixels, recurrent, several, soundly, text

MODULES = (
    dense_faults,
    conv_faults,
    segmentation_faults,
    recurrent_faults,
    attention_faults,
    embedding_faults,
    pair_faults,
    table_faults,
    data_faults,
    sound_rows,
    sound_images,
    sound_sequences,
    noise_programs,
    dense,
    images,
    pixels,
    recurrent,
    attention,
    text,
    several,
    soundly,
    noisy,
)

__all__ = ["PROGRAMS"]
