"""What is particular to the finetuning of answers: a head that marks them, and how they are judged."""

import numpy as np

from budgetbert.finetuning.answers.baseline import SimilarSentence
from budgetbert.finetuning.answers.batches import EncodedQuestions, span_logits
from budgetbert.finetuning.answers.metrics import best_threshold, scores_by_question, squad_scores
from budgetbert.finetuning.heads import Judgement, restart
from budgetbert.finetuning.labelled.judging import calibration
from budgetbert.models import BertBudgetQuestionAnswering, BertBudgetQuestionAnsweringPreprocessor
from budgetbert.models.answer_spans import best_spans
from budgetbert.training.step.objectives import AnswerMarking

_ERRORS = 20
# Characters of a context that the page shows on either side of what it is about.
_AROUND = 80


class AnswerHead:
    """Answers as parts of texts.

    Args:
        task: `Task`.
        none: bool. Whether some questions have no answer, so that a threshold has to be chosen.

    Attributes:
        objective: what is minimised, as those of `training.step.objectives`.
    """

    def __init__(self, task, none):
        self.task, self._none = task, none
        self.objective = AnswerMarking()

    def make_model(self, pretrained, dropout, sequence_length, dtype):
        """Returns the `BertBudgetQuestionAnswering`, to be started with `restart`; arguments as `TextHead`'s."""
        preprocessor = BertBudgetQuestionAnsweringPreprocessor(pretrained.tokenizer, sequence_length)
        return BertBudgetQuestionAnswering(pretrained.make_encoder(dropout, dtype), preprocessor)

    def restart(self, model, weights, seed, pooler=None):
        """Sets a model to the start of a finetuning, as `TextHead.restart`; it has no pooler."""
        restart(model, weights, seed, (model.logits,))

    def encode(self, examples, tokenizer, sequence_length):
        """Returns the `EncodedQuestions` of `AnswerExamples`, of whose answers the first is learned."""
        found = examples.questions
        spans = [
            (answers[0].start, answers[0].start + len(answers[0].text)) if answers else None
            for answers in found.answers
        ]
        return EncodedQuestions(found.questions, found.contexts, spans, tokenizer, sequence_length)

    def judge(self, model, examples, encoded):
        """Returns the `Judgement` of a model in training on `AnswerExamples` and what `encode` made of them.

        Where some questions have no answer, the threshold that is best on these is chosen and stays in the model, as
        SQuAD's evaluation does with its development set.
        """
        questions = examples.questions
        logits = np.nan_to_num(span_logits(model, encoded))
        spans = best_spans(encoded.rows, logits, model.max_answer_length)
        if self._none:
            model.no_answer_threshold = None
            always = [answer["text"] for answer in model.answers(questions.contexts, spans)]
            model.no_answer_threshold = best_threshold(always, spans.differences, questions.texts)
        answers = model.answers(questions.contexts, spans)
        metrics = squad_scores([answer["text"] for answer in answers], questions.texts)
        usual = self.majority(examples)["answer_f1"]
        failure = None
        if metrics["answer_f1"] <= usual:
            failure = f"answer_f1 {metrics['answer_f1']:.3f}, no better than no answer at all ({usual:.3f})"
        predictions = {told: answer["text"] for told, answer in zip(questions.ids, answers, strict=True)}
        return Judgement(_losses(logits, encoded.labels(logits.shape[1])), metrics, predictions, failure)

    def majority(self, examples):
        """Returns the metrics (dict of float) of never giving an answer."""
        return self._chosen(squad_scores([""] * len(examples), examples.questions.texts))

    def finish(self, model):
        """Nothing is left to do."""

    def baselines(self, examples, pretrained):
        """Returns the metrics of what costs nothing.

        Returns:
            dict of `"sentence"`, see `SimilarSentence`, and, where some questions have no answer, `"none"`, which never
            gives one, to dict of the parts' names to dict of metrics.
        """
        answer = SimilarSentence(examples["train"].questions.contexts)
        parts = {name: part for name, part in examples.items() if name != "train"}
        found = {"sentence": {}, **({"none": {}} if self._none else {})}
        for name, part in parts.items():
            questions = part.questions
            said = list(map(answer, questions.questions, questions.contexts))
            found["sentence"][name] = self._chosen(squad_scores(said, questions.texts))
            if self._none:
                found["none"][name] = self.majority(part)
        return found

    def report(self, model, examples):
        """Judges a finished model.

        Args:
            model: `BertBudgetQuestionAnswering`.
            examples: `AnswerExamples`.

        Returns:
            dict of `metrics`, `calibration`, `errors`, the surest of them, and `cut_questions`, how many are longer
            than half a row.
        """
        questions = examples.questions
        encoded = self.encode(examples, model.preprocessor.tokenizer, model.preprocessor.sequence_length)
        spans = best_spans(encoded.rows, np.nan_to_num(span_logits(model, encoded)), model.max_answer_length)
        answers = model.answers(questions.contexts, spans)
        texts = [answer["text"] for answer in answers]
        exact, f1 = scores_by_question(texts, questions.texts)
        says = np.array([answer["score"] for answer in answers])
        # An answer that shares words with the right one is wrong in its borders alone.
        wrong = [place for place in np.argsort(-says, kind="stable") if not f1[place]]
        return {
            "metrics": self._chosen(squad_scores(texts, questions.texts)),
            "calibration": calibration(says, exact == 1),
            "errors": [_error(questions, place, answers[place]) for place in wrong[:_ERRORS]],
            "cut_questions": int(np.count_nonzero(encoded.rows.cut)),
        }

    def _chosen(self, metrics):
        """Returns the metrics of the task; of a part in which all questions have an answer, those of none are 0."""
        return {name: metrics.get(name, 0.0) for name in self.task.metrics}


def _losses(logits, labels):
    """Returns the cross-entropy of each row (float array), as `span_cross_entropy`."""
    logits = np.where(labels < 0, -np.inf, logits)
    chosen = np.where(labels > 0, logits, 0.0).sum(axis=1)
    top = logits.max(axis=1)
    return (np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - chosen).mean(axis=-1)


def _error(questions, place, answer):
    """Returns what the page says of a wrong answer (dict)."""
    context, right = questions.contexts[place], questions.answers[place]
    starts = [start for start in (answer["start"], *(given.start for given in right)) if start >= 0]
    first = max(0, min(starts, default=0) - _AROUND)
    last = min(len(context), max(starts, default=0) + 2 * _AROUND)
    excerpt = f"{'…' if first else ''}{context[first:last]}{'…' if last < len(context) else ''}"
    return {
        "id": questions.ids[place],
        "texts": [questions.questions[place], excerpt],
        "label": " | ".join(dict.fromkeys(given.text for given in right)) or "no answer",
        "predicted": answer["text"] or "no answer",
        "probability": answer["score"],
    }
