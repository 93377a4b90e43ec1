"""What a question-answering model says of questions and contexts, as rows of a file."""

import pyarrow as pa

from budgetbert.finetuning.answers.batches import EncodedQuestions, span_logits
from budgetbert.models.answer_spans import best_spans


class AnswerLabeller:
    """The answers to questions: `answer`, `start` and `end` in code points of the context, and `score`.

    Of no answer `answer` is empty, and `start` and `end` are -1.

    Args:
        model: `BertBudgetQuestionAnswering` with a preprocessor.

    Attributes:
        pair: bool. There are two texts, question and context.
        fields: list of `pyarrow.Field`, what a row has.
    """

    pair = True
    fields = [
        pa.field("answer", pa.string()),
        pa.field("start", pa.int64()),
        pa.field("end", pa.int64()),
        pa.field("score", pa.float32()),
    ]

    def __init__(self, model):
        self._model = model

    def __call__(self, texts, batch_size):
        """Answers questions.

        Args:
            texts: tuple of two lists of str, questions and contexts.
            batch_size: int. Rows at a time.

        Returns:
            List of dict, a row for each question.
        """
        questions, contexts = texts
        preprocessor = self._model.preprocessor
        encoded = EncodedQuestions(
            questions, contexts, [None] * len(questions), preprocessor.tokenizer, preprocessor.sequence_length
        )
        logits = span_logits(self._model, encoded, batch_size)
        spans = best_spans(encoded.rows, logits, self._model.max_answer_length)
        return [
            {"answer": found["text"], "start": found["start"], "end": found["end"], "score": found["score"]}
            for found in self._model.answers(contexts, spans)
        ]
