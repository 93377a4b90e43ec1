"""The rows of 24hBERT and of BERT, derived anew from what is published of their preparations, in plain Python."""


def truncated(tokens, most, generator):
    """Drops one token after another, at the front or the back by a throw of a coin, until `most` are left."""
    tokens = list(tokens)
    while len(tokens) > most:
        tokens.pop(0 if generator.random() < 0.5 else -1)
    return tokens


def sentence_rows(document, sequence_length, generator, short_share=0.1):
    """24hBERT's rows of a document (list of lists of tokens), without [CLS] and [SEP]."""
    most = sequence_length - 2
    target = generator.randint(2, most) if generator.random() < short_share else most
    rows, chunk = [], []
    for place, sentence in enumerate(document):
        chunk += sentence
        if chunk and (len(chunk) >= target or place == len(document) - 1):
            rows.append(truncated(chunk, most, generator))
            chunk = []
    return rows


def pair_rows(documents, number, sequence_length, generator, short_share=0.1):
    """BERT's pairs of the document of a number; a list of (A, B, whether B is random)."""
    document, most = documents[number], sequence_length - 3
    target = generator.randint(2, most) if generator.random() < short_share else most
    rows, chunk, length, place = [], [], 0, 0
    while place < len(document):
        chunk.append(document[place])
        length += len(document[place])
        if length >= target or place == len(document) - 1:
            middle = generator.randint(1, len(chunk) - 1) if len(chunk) > 1 else 1
            first = [token for sentence in chunk[:middle] for token in sentence]
            is_random = len(chunk) == 1 or generator.random() < 0.5
            if is_random:
                others = [other for other in range(len(documents)) if other != number]
                other, second = documents[generator.choice(others)], []
                for sentence in other[generator.randint(0, len(other) - 1) :]:
                    second += sentence
                    if len(second) >= target - len(first):
                        break
                place -= len(chunk) - middle
            else:
                second = [token for sentence in chunk[middle:] for token in sentence]
            while len(first) + len(second) > most:
                longer = first if len(first) > len(second) else second
                longer.pop(0 if generator.random() < 0.5 else -1)
            rows.append((first, second, is_random))
            chunk, length = [], 0
        place += 1
    return rows
