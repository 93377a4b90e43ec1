"""Arguments of the models that are refused: Keras would drop them, or write what it cannot read."""

import difflib
import inspect


def check_arguments(cls, given, passed_on, encoder=None):
    """Raises a `ValueError` for an argument that no constructor reads.

    A functional Keras model drops what it does not know, so that a misspelt `dropout` would leave the default in place.

    Args:
        cls: class of a model.
        given: names of the arguments, those of the constructor's own signature included or not.
        passed_on: names that the base classes read.
        encoder: class of the encoder if `cls` is made of one, whose arguments then have a sentence of their own.
    """
    names = [*own_arguments(cls), *passed_on]
    for name in given:
        if name in names:
            continue
        of_encoder = own_arguments(encoder) if encoder is not None else []
        nearest = difflib.get_close_matches(name, names, n=1)
        nearest_of_encoder = difflib.get_close_matches(name, of_encoder, n=1)
        if name in of_encoder:
            hint = f"it is one of {encoder.__name__}, the encoder."
        elif nearest:
            hint = f"did you mean {nearest[0]!r}?"
        elif nearest_of_encoder:
            hint = f"did you mean {nearest_of_encoder[0]!r} of {encoder.__name__}, the encoder?"
        else:
            hint = f"it takes {', '.join(names)}."
        raise ValueError(f"{cls.__name__} has no argument {name!r}: {hint}")


def refuse_hdf5(path):
    """Raises a `ValueError` where a whole model is to be written to HDF5, from which Keras could not read it again."""
    if str(path).endswith((".h5", ".hdf5")):
        raise ValueError(
            f"{path} would be in Keras' old HDF5 format, from which this model does not load: give a path that ends "
            "in .keras, or call save_weights() for the weights alone."
        )


def own_arguments(cls):
    """The names in the signature of a constructor."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
