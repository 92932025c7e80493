"""Files of weights in every format, and how their tensors find the parameters of a network."""
