"""Documents of token ids -> rows of equal length.

Three kinds. `packed`: documents run on from row to row and nothing is padded. `sentences`: sentences of one document.
`pairs`: two segments of sentences, the second of which follows the first or comes from another document. The last two
are padded with [PAD] where a document ends, and lose no token of any document.

Rows hold no masks: BERT's and 24hBERT's preparation wrote each row ten times with ten masks; here they are drawn anew
at each use (`budgetbert.batches.masking`), which is the same with as many copies as there are epochs.
"""

import re

import numpy as np
import sentencex

# Of the documents of `sentences` and `pairs`, this share is cut into shorter rows, as the model also has to read those.
_SHORT_ROWS = 0.1
# So many places are drawn at random to find one that fills a row.
_TRIES = 10
_OPENING_QUOTE = re.compile(r"(?<![^\s(\[–—-])[\"“„«]")
_CLOSING_QUOTE = re.compile(r"[\"“”»]")
# Scripts whose sentence ends `sentencex` does not know: Thai, Lao, Tibetan and Khmer. Tibetan ends some sentences with
# two strokes, a space between them.
_OTHER_SCRIPT = re.compile("[\u0e00-\u0fff\u1780-\u17ff]")
_OTHER_ENDS = re.compile(
    r"(?<=[\u0e00-\u0eff])\s+(?=[\u0e00-\u0eff])|(?<=[\u0f0d-\u0f11\u0f14\u17d4\u17d5])(?!\s*[\u0f0d-\u0f14\u17d4\u17d5»”’)\]])\s*"
)
# So many characters of a line are split at a time.
_AT_ONCE = 2**14


def token_dtype(vocabulary_size):
    """Returns the NumPy dtype that rows are stored in: uint16 while all ids fit (up to 65,536 entries), else uint32."""
    return np.dtype(np.uint16 if vocabulary_size <= 65_536 else np.uint32)


def join_documents(documents, separator_id):
    """Puts documents one after another, each with a separator behind it.

    Args:
        documents: list of 1-D integer arrays of one dtype.
        separator_id: int, the id of [SEP].

    Returns:
        1-D array of the same dtype; of length 0 if there is no document.
    """
    if not documents:
        return np.zeros(0, dtype=np.uint16)
    separator = np.array([separator_id], dtype=documents[0].dtype)
    return np.concatenate([part for document in documents for part in (document, separator)])


def cut_rows(stream, sequence_length, start_id=None):
    """Cuts a stream of ids into rows.

    Args:
        stream: 1-D integer array.
        sequence_length: int, the number of ids in a row.
        start_id: int or `None`. The id that each row begins with ([CLS]); the stream then continues behind it.
            Defaults to `None`: a row holds nothing but the stream.

    Returns:
        Tuple of the rows, an array [rows, sequence_length] of the stream's dtype, and the rest of the stream, too
        short for a row, to be put in front of what comes next.
    """
    taken = sequence_length - (start_id is not None)
    count = len(stream) // taken
    rows, rest = stream[: count * taken].reshape(count, taken), stream[count * taken :]
    if start_id is not None:
        rows = np.concatenate([np.full((count, 1), start_id, dtype=stream.dtype), rows], axis=1)
    return rows, rest


def split_sentences(text):
    """Splits a document into sentences, for `sentence_rows` and `pair_rows`.

    By `sentencex`; its rules for English know the full stops of other scripts too, but those of Khmer and Tibetan,
    which end a sentence here. Thai and Lao have none, and none of its languages has rules for them: white space between
    two of their letters ends a sentence, as writers put it between clauses. A line end ends a sentence.
    Speech in quotation marks is split like other text: `sentencex` would keep it together, and of 97 novels 17 % of the
    tokens would stand in sentences longer than a row of 128, instead of 9 %.

    Args:
        text: str.

    Returns:
        list of str, none of them blank.
    """
    return [sentence for line in text.split("\n") if line for sentence in _sentences_of_line(line)]


def _sentences_of_line(line):
    # Each mark becomes another character, so that positions stay: a letter that may begin a sentence, or a space.
    unquoted = _CLOSING_QUOTE.sub(" ", _OPENING_QUOTE.sub("A", line))
    start = 0
    for segment in _segments(unquoted):
        end = start + len(segment)
        sentence = line[start:end].strip()
        if sentence:
            yield from filter(None, _OTHER_ENDS.split(sentence)) if _OTHER_SCRIPT.search(sentence) else (sentence,)
        start = end


def _segments(line):
    """Yields what `sentencex` makes of a line, of a long one piece by piece: brackets take it a quadratic time."""
    start = 0
    while len(line) - start > _AT_ONCE:
        piece = line[start : start + _AT_ONCE]
        segments = list(sentencex.segment("en", piece))
        # The last one may go on behind the piece.
        if len(segments) > 1:
            segments.pop()
        else:
            segments = [piece[: piece.rfind(" ") + 1] or piece]
        yield from segments
        start += sum(map(len, segments))
    yield from sentencex.segment("en", line[start:])


def sentence_rows(sentences, sequence_length, special_ids, generator):
    """Cuts a document into rows [CLS] sentences [SEP] [PAD] ...

    A row takes sentences until it is full: one that no longer fits goes on in the next row. Of one document in ten the
    rows are short: each is closed behind the sentence with which it has a number of tokens that is drawn once for the
    document.

    24hBERT fills its rows alike, but what no longer fits is lost (about half a sentence a row), at the front or at the
    back of the row, and the next row starts with the next sentence. Here nothing is lost, and a row may begin within a
    sentence.

    Args:
        sentences: list of 1-D integer arrays, the ids of each sentence of one document; may have empty ones.
        sequence_length: int.
        special_ids: dict with "[PAD]", "[CLS]" and "[SEP]".
        generator: `numpy.random.Generator`. Seeded by what the document is, not by its place, it makes the rows the
            same whoever prepares them.

    Returns:
        Array [rows, sequence_length] of the sentences' dtype.

    Source: Izsak et al. 2021; `create_pretraining_data.py` of their code, option `--no_nsp`.
    """
    capacity = sequence_length - 2
    target = _draw_target(capacity, generator)
    rows, row, length = [], [], 0
    for sentence in sentences:
        while len(sentence):
            taken = sentence[: capacity - length]
            sentence = sentence[len(taken) :]
            row.append(taken)
            length += len(taken)
            if length >= target:
                rows.append(row)
                row, length = [], 0
    if row:
        rows.append(row)
    return _fill([[row] for row in rows], sequence_length, special_ids, _dtype(sentences))


def pair_rows(documents, sequence_length, special_ids, generators):
    """Cuts documents into rows [CLS] A [SEP] B [SEP] [PAD] ..., half of which have a B from another document.

    A and a true B are the two parts, cut between sentences at random, of as much of the document as a row has room for:
    a sentence that no longer fits goes on in the next row. For a random B sentences of another document fill the row,
    and those that the true B would have had begin the next one. So every token stands once in an A or a true B.
    A sentence that is alone in its row gets a random B, as in the original: over half of all Bs are random.

    The original fills its rows alike, then drops tokens from the longer segment's front or back.

    Args:
        documents: list of lists of 1-D integer arrays, the ids of each sentence of each document. They are each
            other's source of random Bs, so they have to be of one split, and better many than few; where there is but
            one document, its random Bs are from any place in itself.
        sequence_length: int.
        special_ids: dict with "[PAD]", "[CLS]" and "[SEP]".
        generators: iterable of `numpy.random.Generator`, one per document.

    Returns:
        Tuple of rows, an array [rows, sequence_length] of the sentences' dtype, and labels, uint8 [rows]: 1 where B is
        random, 0 where it follows A.

    Source: Devlin et al. 2019, section 3.1 and appendix A.2; `create_pretraining_data.py` of their code.
    """
    capacity = sequence_length - 3
    cut = [list(_cut_long(sentences, capacity // 2)) for sentences in documents]
    filled = [list(sentences) for sentences in cut if sentences]
    rows, labels = [], []
    # This is the place of the document in `filled`.
    own = -1
    for sentences, generator in zip(cut, generators, strict=True):
        own += bool(sentences)
        target = _draw_target(capacity, generator)
        start = 0
        while start < len(sentences):
            end, length = start, 0
            while end < len(sentences) and length < target:
                length += len(sentences[end])
                end += 1
            at_end = end == len(sentences) and length <= capacity
            middle = start + 1 if end - start == 1 else int(generator.integers(start + 1, end))
            first = sentences[start:middle]
            if end - start == 1 or generator.random() < 0.5:
                taken = sum(map(len, first))
                # At a document's end it is as long as what was left, so that the length does not give the label away.
                room = length - taken if middle < end and at_end else capacity - taken
                second = _random_segment(filled, own, min(room, target - taken), room, generator)
                start = middle
                labels.append(True)
            else:
                second = sentences[middle:end]
                start = end
                if length > capacity:
                    fits = len(second[-1]) - (length - capacity)
                    start = end - 1
                    # The rest begins the next row.
                    sentences[start] = second[-1][fits:]
                    second[-1] = second[-1][:fits]
                labels.append(False)
            rows.append([first, second])
    dtype = _dtype([sentence for sentences in documents for sentence in sentences])
    return _fill(rows, sequence_length, special_ids, dtype), np.array(labels, np.uint8)


def _draw_target(capacity, generator):
    """The number of tokens at which the rows of a document are closed: all there is room for, or a random one."""
    return int(generator.integers(2, capacity + 1)) if generator.random() < _SHORT_ROWS else capacity


def _cut_long(sentences, capacity):
    """Yields the sentences that are not empty, longer ones in as few parts of about equal length as are needed."""
    for sentence in sentences:
        if len(sentence) > capacity:
            yield from np.array_split(sentence, -(-len(sentence) // capacity))
        elif len(sentence):
            yield sentence


def _random_segment(documents, own, wanted, room, generator):
    """Sentences that follow each other at a random place of `documents`: `wanted` tokens or more, `room` at most.

    They are from any document but number `own`, unless that is the only one, and there is one at least. A place that
    is too near to the end of its document gives way to another one, so that a short row does not tell that B is random.
    """
    best, most = [], 0
    for _ in range(_TRIES):
        drawn = int(generator.integers(max(1, len(documents) - 1)))
        document = documents[drawn + (drawn >= own and len(documents) > 1)]
        place, segment, length = int(generator.integers(len(document))), [], 0
        while place < len(document) and (length < wanted or not segment):
            segment.append(document[place][: room - length])
            length += len(segment[-1])
            place += 1
        if length > most:
            best, most = segment, length
        if length >= wanted:
            break
    return best


def _dtype(sentences):
    return sentences[0].dtype if len(sentences) else np.dtype(np.uint16)


def _fill(rows, sequence_length, special_ids, dtype):
    """Writes rows, each a list of segments, which are lists of sentences: [CLS], and [SEP] behind each segment."""
    start, separator = np.array([[special_ids["[CLS]"]], [special_ids["[SEP]"]]], dtype)
    filled = np.full((len(rows), sequence_length), special_ids["[PAD]"], dtype)
    for row, segments in zip(filled, rows, strict=True):
        ids = np.concatenate([start, *(part for sentences in segments for part in (*sentences, separator))])
        row[: len(ids)] = ids
    return filled
