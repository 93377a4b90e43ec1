"""What an answer costs without a model: a name or a number of the sentence that is most like the question.

Imports no Keras.
"""

import re

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_WORD = re.compile(r"\w+(?:[.,'’\-–]\w+)*")
_OF_NUMBERS = re.compile(r"\b(when|how many|how much|how old|what year|which year|what date|what percentage)\b", re.I)


class SimilarSentence:
    """Answers with the first name or number of the most similar sentence that the question does not have itself.

    Sentences and questions are compared by the cosine of their words' TF-IDF. Names are words in a row that begin with
    a capital; a question for a number or a date takes one with a digit. Where there is none the sentence is the answer.
    It never says that there is no answer.

    Args:
        contexts: list of str, whose sentences say how rare each word is.

    Example:

    >>> answer = SimilarSentence(["Anna went to Paris in May 1998. Bob stayed."])
    >>> answer("When did Anna go?", "Anna went to Paris in May 1998. Bob stayed.")
    'May 1998'
    """

    def __init__(self, contexts):
        self._tfidf = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True)
        self._tfidf.fit([sentence for context in dict.fromkeys(contexts) for sentence in _sentences(context)])

    def __call__(self, question, context):
        """Returns the answer (str) to a question (str) in a context (str)."""
        sentences = _sentences(context)
        likeness = (self._tfidf.transform(sentences) @ self._tfidf.transform([question]).T).toarray()[:, 0]
        sentence = sentences[int(np.argmax(likeness))]
        asked = set(_WORD.findall(question.lower()))
        names = [name for name in _names(sentence) if not set(_WORD.findall(name.lower())) <= asked]
        numbers = [name for name in names if any(map(str.isdigit, name))]
        return ((numbers if _OF_NUMBERS.search(question) else names) or names or [sentence])[0]


def _sentences(text):
    return [part.strip() for part in _BETWEEN_SENTENCES.split(text) if part.strip()] or [text]


def _names(sentence):
    """Returns the names and numbers (list of str) of a sentence: words in a row with a capital or a digit in front."""
    found, end = [], None
    for match in _WORD.finditer(sentence):
        if not (match[0][0].isupper() or match[0][0].isdigit()):
            end = None
            continue
        if end is not None and sentence[end : match.start()] == " ":
            found[-1] = (found[-1][0], match.end())
        else:
            found.append(match.span())
        end = match.end()
    return [sentence[start:end] for start, end in found]
