"""A column of a parquet file, or all of them."""

import collections
import contextlib

from budgetbert.corpus.sources.blocks import DamagedFile, column_number, grouped
from budgetbert.errors import InputError, one_line

# So many rows are decoded at a time, or as many as have so many bytes together, if they are about equally long.
_ROWS, _BYTES = 256, 2**23


def blocks(path, raw, block_bytes, text_field):
    """Yields the blocks of a file; the arguments are those of `formats.read_blocks`."""
    import pyarrow as pa

    with opened(path, raw) as file:
        column_number(path, file.schema_arrow.names, text_field)
        column = file.schema_arrow.field(text_field).type
        value = column.value_type if pa.types.is_dictionary(column) else column
        # A file in which every value is missing has a column of nulls, whatever other files have.
        kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
        if not any(is_kind(value) for is_kind in kinds):
            raise InputError(f"{path}: the column {text_field!r} holds {column}, not text: name another one.")
        texts = ((found, len(found[0])) for found in _texts(path, _batches(file, [text_field])))
        yield from grouped("parsed", path, texts, block_bytes, collections.Counter())


def rows(path, raw):
    """Reads the rows of a file.

    Yields:
        Tuple of a row (dict of the columns' names to values), or `None` where it cannot be used; its number (int), from
        1; and the share (float) of the file's rows that were read.
    """
    with opened(path, raw) as file:
        number, total = 0, file.metadata.num_rows
        for batch in _batches(file, file.schema_arrow.names):
            for place in range(batch.num_rows):
                number += 1
                try:
                    (row,) = batch.slice(place, 1).to_pylist()
                except UnicodeDecodeError:
                    row = None
                yield row, number, number / total


@contextlib.contextmanager
def opened(path, raw):
    """Context with the `pyarrow.parquet.ParquetFile` of an open binary file.

    Raises:
        DamagedFile: if it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet

    try:
        yield pa.parquet.ParquetFile(raw)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = one_line(error).rstrip(".")
        raise DamagedFile(f"{path} is a damaged parquet file ({reason}): copy or download it again.") from error


def _batches(file, names):
    """Yields the rows of columns (list of str) of a `ParquetFile`, few at a time where they are long.

    Beside them memory holds one page of each column, which is as long as the writer of the file made it.
    """
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        columns = map(group.column, range(group.num_columns))
        size = sum(
            column.total_uncompressed_size
            for column in columns
            if {column.path_in_schema, column.path_in_schema.split(".")[0]} & {*names}
        )
        rows = max(1, min(_ROWS, group.num_rows * _BYTES // max(1, size)))
        yield from file.iter_batches(rows, row_groups=[number], columns=names, use_threads=False)


def _texts(path, batches):
    """Yields the text of each row and `None`, or what there is of it and why it cannot be used."""
    import pyarrow as pa

    row = 0
    for batch in batches:
        for value in batch.column(0).cast(pa.large_string()).cast(pa.large_binary()).to_pylist():
            row += 1
            try:
                yield (value or b"").decode(), None
            except UnicodeDecodeError:
                sentence = f"{path}, row {row:,}: the text is not UTF-8: write it as text"
                yield value.decode(errors="replace"), ("undecodable", sentence)
