"""One kernel as a file of its own, with its inputs, its reference and its check; and such a file put back."""
